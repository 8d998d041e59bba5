"""What an intervention is told of a forward before its first layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from jaxtyping import Bool, Int

from lvlmscope.attention.image_layout import ImageLayout

__all__ = ["ForwardInfo"]

_UNREAD: Final = ImageLayout(present=False, span=None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForwardInfo:
    """One forward of the model, as seen before its first layer.

    Attributes:
        token_ids: Ids of all positions so far, with padding, ``[batch, key]``.
        image_keys: bool ``[batch, key]``.
        prompt_length: Prompt length in columns, padding counted; answer keys start there.
        past_length: Number of cached positions.
        first_row: First predicting query row; all later rows of the forward predict too.
        num_queries: Number of query rows of this forward.
        layout: Where the image keys lie, as plain numbers; read from `image_keys` when it is not given.
        shared: What layers and interventions compute once in this forward, under keys of their own.
        inputs: What ``generate`` was given of the prompts, by name: ``input_ids``, ``attention_mask``, pixels and what
            else the processor made; of a replay the same. One row for each prompt. Empty in a forward that the user
            runs without ``generate``.
        num_prompts: Number of prompts; several rows belong to one under beams and with several answers a prompt.
    """

    token_ids: Int[torch.Tensor, "batch key"]
    image_keys: Bool[torch.Tensor, "batch key"]
    prompt_length: int
    past_length: int
    first_row: int
    num_queries: int
    layout: ImageLayout = _UNREAD
    shared: dict[Any, Any] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    num_prompts: int | None = None

    def __post_init__(self) -> None:
        """Read the layout where none is given."""
        if self.layout is _UNREAD:
            object.__setattr__(self, "layout", ImageLayout.of(self.image_keys))

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is the same in all layers, computed where it is first asked for.

        Args:
            key: Names it among what is shared.
            make: Computes it.

        Returns:
            The same object each time.
        """
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return self.token_ids.shape[0]

    @property
    def samples(self) -> Int[torch.Tensor, "batch"]:
        """Which prompt each row belongs to; the same through a whole answer, also where beams are reordered."""
        each = self.batch_size // (self.num_prompts or self.batch_size)
        return torch.arange(self.batch_size, device=self.token_ids.device) // each

    @property
    def num_rows(self) -> int:
        """Number of predicting rows."""
        return self.num_queries - self.first_row

    @property
    def is_prompt(self) -> bool:
        """Whether the forward starts the prompt."""
        return self.past_length == 0

    @property
    def row_positions(self) -> Int[torch.Tensor, "row"]:
        """Absolute column of each predicting row, ``[row]``."""
        start = self.past_length + self.first_row
        return torch.arange(start, self.past_length + self.num_queries, device=self.token_ids.device)
