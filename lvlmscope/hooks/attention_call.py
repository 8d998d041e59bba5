"""What one call of an attention function receives."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

__all__ = ["AttentionCall"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionCall:
    """One call of a registered attention function, and the first query row of interest.

    Attributes:
        module: The attention module.
        query: ``[batch, head, query, dim]``.
        key: ``[batch, key head, key, dim]``, before repetition for grouped queries.
        value: ``[batch, key head, key, value dim]``.
        mask: What the mask function made: bool or additive ``[batch, 1 or head, query, key]``, 2-D, or None.
        kernel: Name of the attention implementation that makes the output.
        options: The call's other arguments: scaling, softcap, sliding_window, ...
        first_row: First query row of interest; all later ones are of interest too, up to `end_row`.
        crosses: Whether the keys are the image's, outside the query's own sequence (cross-attention).
        whole_graph: Whether differentiable rows depend on all keys and values, not on their own alone: for a prompt
            whose earlier rows see the predicting one.
        end_row: Query row before which the rows of interest end; None for all later ones.
    """

    module: torch.nn.Module
    query: Float[torch.Tensor, "batch head query dim"]
    key: Float[torch.Tensor, "batch kv_head key dim"]
    value: Float[torch.Tensor, "batch kv_head key value_dim"]
    mask: Any
    kernel: str
    options: dict[str, Any]
    first_row: int
    crosses: bool = False
    whole_graph: bool = False
    end_row: int | None = None

    @property
    def num_rows(self) -> int:
        """Number of query rows of interest."""
        return (self.query.shape[2] if self.end_row is None else self.end_row) - self.first_row

    @property
    def rows(self) -> slice:
        """The query rows of interest."""
        return slice(self.first_row, self.end_row)
