"""What a replay keeps of the rows it passes: all keys or some, in which precision, and their gradients."""

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.capture.options import KeyFilter
from lvlmscope.errors import ReplayError, message

__all__ = ["RowRecorder"]


class RowRecorder:
    """Takes rows and hidden states as they come; where gradients are wanted, asks each row for its own.

    Attributes:
        rows: Kept rows of each layer ``[batch, step, head, kept key]``.
        gradients: Kept gradients of each layer, filled by a backward pass.
        leaves: The rows in the graph, while gradients are wanted: of every layer, or of the lowest one only.
        exact: Whether outputs stay the kernel's to the last bit while the graph is made, at the cost of both.
    """

    exact = False

    def __init__(self, keeping: KeyFilter, *, differentiable: bool, wants_hidden: bool, lowest_only: bool) -> None:
        """Start empty.

        Args:
            keeping: What is kept of a row.
            differentiable: Rows are to be differentiated.
            wants_hidden: Hidden states are to be kept.
            lowest_only: Hold the lowest layer's rows in the graph and take the others' gradients by hooks.
        """
        self.keeping = keeping
        self.differentiable = differentiable
        self.wants_hidden = wants_hidden
        self.lowest_only = lowest_only
        self.rows: dict[int, torch.Tensor] = {}
        self.gradients: dict[int, torch.Tensor] = {}
        self.leaves: dict[int, torch.Tensor] = {}
        self.visible: dict[int, torch.Tensor | None] = {}
        self.image_scores: dict[int, torch.Tensor] = {}
        self.hidden: dict[int, torch.Tensor] = {}

    def record_rows(self, layer: int, rows: AttentionRows) -> None:
        """Keep one layer's rows; a second visit, when a layer is run again for its backward, changes nothing.

        Args:
            layer: Decoder layer number.
            rows: ``[batch, row, head, key]``.

        Raises:
            ReplayError: Gradients are wanted and the rows carry none.
        """
        if layer in self.rows:
            return
        if self.differentiable and not rows.weights.requires_grad:
            got, fix = f"layer {layer} outside the graph", "trace without gradients"
            raise ReplayError(message(got, "rows that carry gradients", fix, task="differentiate attention"))
        self.visible[layer] = rows.visible_keys
        with torch.no_grad():
            self.image_scores[layer] = rows.image_scores.float().to(self.keeping.device)
        self.rows[layer] = self.kept(rows.weights, layer)
        if self.differentiable and not (self.lowest_only and self.leaves):
            self.leaves[layer] = rows.weights
        elif self.differentiable:
            rows.weights.register_hook(lambda gradient: self.keep_gradient(layer, gradient))

    def keep_gradient(self, layer: int, gradient: torch.Tensor) -> None:
        """Keep one layer's gradient.

        Args:
            layer: Decoder layer number.
            gradient: ``[batch, row, head, key]``.
        """
        visible = self.visible[layer]
        # The loss has a slope at keys the row may not see, too; a trace shows the row's own keys only
        seen = gradient if visible is None else gradient.masked_fill(~visible.unsqueeze(-2), 0.0)
        self.gradients[layer] = self.kept(seen, layer)

    def kept(self, values: torch.Tensor, layer: int) -> torch.Tensor:
        """What is kept of rows or their gradient.

        Args:
            values: ``[batch, row, head, key]``.
            layer: Decoder layer number.

        Returns:
            ``[batch, row, head, kept key]`` on the device of what is kept.
        """
        return self.keeping.kept(values, layer)

    def record_hidden(self, layer: int, hidden: torch.Tensor) -> None:
        """Keep the stream after one layer.

        Args:
            layer: Decoder layer number, -1 for the embedding.
            hidden: ``[batch, row, hidden]``.
        """
        self.hidden[layer] = hidden.detach().float().to(self.keeping.device)

    def seen_keys(self, layer: int) -> torch.Tensor:
        """Which keys of a layer some row may see, bool ``[batch, key]``.

        Args:
            layer: Decoder layer number.

        Returns:
            A mask on the CPU.
        """
        visible = self.visible[layer]
        if visible is None:
            return torch.ones(self.rows[layer].shape[0], self.rows[layer].shape[-1], dtype=torch.bool)
        return visible.any(1).cpu()
