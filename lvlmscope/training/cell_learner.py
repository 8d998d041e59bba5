"""A frozen backbone with a cell over its layers, as one module whose only parameters are the cell's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.hooks.hidden_states import HiddenHooks
from lvlmscope.interventions.depth_cell import DepthCell
from lvlmscope.models.families import Family
from lvlmscope.training.collation import IGNORED

__all__ = ["CellLearner"]


class CellLearner(nn.Module):
    """Cross-entropy of the assistant's tokens with the cell at work in the rows that predict them.

    Other rows stay as the backbone makes them, as `HalluRNN` leaves the prompt alone, so that what is trained is what
    runs. In a conversation of several turns the earlier answers' rows are edited too, where `HalluRNN`, given those
    answers as a prompt, would not edit them.

    The backbone is no submodule: it is neither saved, nor optimised, nor wrapped; each process holds its own.
    """

    def __init__(self, cell: DepthCell, backbone: Any, family: Family) -> None:
        """Hold cell and backbone; hooks are set in ``attached`` only.

        Args:
            cell: The cell to train.
            backbone: The Hugging Face model, on its device.
            family: Its family's rules.
        """
        super().__init__()
        self.cell = cell
        self._backbone = (backbone,)  # in a tuple, so that torch does not take it for a submodule
        self._layers = tuple(family.decoder_layers(backbone))
        self._hooks = HiddenHooks(self._layers, self._edit)
        self._rows: Tensor | None = None
        self._states: dict[int, Tensor] = {}
        self._sums: dict[str, dict[int, Tensor]] = {}
        self._seen: dict[int, int] = {}

    @property
    def backbone(self) -> Any:
        """The frozen model."""
        return self._backbone[0]

    @contextmanager
    def attached(self, *, gradient_checkpointing: bool = False) -> Iterator[None]:
        """Freeze the backbone and let the cell work in it; afterwards it is as before.

        Args:
            gradient_checkpointing: Recompute each decoder layer in the backward pass instead of keeping its tensors.

        Yields:
            Nothing.
        """
        modes = {module: module.training for module in self.backbone.modules()}
        learns = [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]
        self.backbone.eval().requires_grad_(False)
        try:
            self._hooks.set(True)
            with _recomputing(self._layers if gradient_checkpointing else ()):
                yield
        finally:
            self._hooks.set(False)
            for parameter in learns:
                parameter.requires_grad_(True)
            for module, mode in modes.items():
                module.training = mode
            self._rows, self._states = None, {}

    def forward(
        self,
        labels: Tensor,
        weights: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **inputs: Any,
    ) -> dict[str, Tensor]:
        """Loss of one batch.

        Args:
            labels: The assistant's tokens, -100 elsewhere, ``[batch, key]``.
            weights: Weight of each label, ``[batch, key]``; all 1 when None.
            num_items_in_batch: Labels of all batches that make one step; the loss is then a sum divided by it.
            **inputs: The backbone's inputs.

        Returns:
            ``{"loss": mean cross-entropy in nats}``.
        """
        following = functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        self._rows, self._states = following != IGNORED, {}
        given = {name: self._placed(value) for name, value in inputs.items()}
        logits = self.backbone(**given, use_cache=False).logits
        targets = following[self._rows]
        losses = functional.cross_entropy(at_least_float32(logits[self._rows]), targets, reduction="none")
        if weights is not None:
            losses = losses * functional.pad(weights[:, 1:], (0, 1))[self._rows]
        return {"loss": losses.sum() / (targets.numel() if num_items_in_batch is None else num_items_in_batch)}

    def pop_gates(self) -> dict[str, dict[str, float]]:
        """Mean of each gate in each layer since the last call, over training and validation rows."""
        means = {
            name: {str(layer): float(total) / self._seen[layer] for layer, total in sorted(sums.items())}
            for name, sums in self._sums.items()
        }
        self._sums, self._seen = {}, {}
        return means

    def _placed(self, value: Any) -> Any:
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(self.backbone.dtype) if is_float else value

    def _edit(self, layer: int, hidden: Tensor) -> Tensor | None:
        rows = self._rows
        assert rows is not None  # hooks are set only around forward
        stream = hidden[rows]
        if layer == -1:
            self._states[-1] = stream
            return None
        output = self.cell(self._states[layer - 1], stream)
        new = output.state.to(hidden.dtype)
        self._states[layer] = new
        self._count(layer, output.gates, stream.shape[0])
        return hidden.masked_scatter(rows.unsqueeze(-1), new)

    @torch.no_grad()
    def _count(self, layer: int, gates: dict[str, Tensor], rows: int) -> None:
        for name, gate in gates.items():
            sums = self._sums.setdefault(name, {})
            sums[layer] = sums.get(layer, torch.zeros((), device=gate.device)) + gate.mean(-1).sum()
        self._seen[layer] = self._seen.get(layer, 0) + rows


@contextmanager
def _recomputing(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Shadows each layer's forward by one that keeps its input only; hooks stay outside and run once."""
    before = [(layer, vars(layer).get("forward")) for layer in layers]  # device maps shadow it too
    for layer in layers:
        vars(layer)["forward"] = partial(_recomputed, layer.forward)
    try:
        yield
    finally:
        for layer, shadow in before:
            vars(layer).pop("forward")
            if shadow is not None:
                vars(layer)["forward"] = shadow


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
