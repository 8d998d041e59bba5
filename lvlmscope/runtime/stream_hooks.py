"""Edits of the residual stream and of MLP outputs, and what is read of the stream, in one model's forwards."""

from typing import Final

import torch
from jaxtyping import Float, Int

from lvlmscope.hooks.hidden_states import HiddenHooks
from lvlmscope.hooks.mlp_outputs import MLPHooks
from lvlmscope.models.decoder_shape import require_one_stream
from lvlmscope.models.families import Family
from lvlmscope.runtime.active_set import ActiveSet, overrides
from lvlmscope.runtime.edit_chain import edit_stream
from lvlmscope.runtime.predicting_rows import ForwardTracker
from lvlmscope.runtime.protocol import ForwardInfo

__all__ = ["StreamHooks"]

_TASK: Final = "switch on an intervention that edits hidden states"


class StreamHooks:
    """Hooks between decoder layers and on their MLPs; each is there only while something needs it."""

    def __init__(self, model: torch.nn.Module, family: Family, on: ActiveSet, tracker: ForwardTracker) -> None:
        """Prepare; no hook is set yet.

        Args:
            family: Its family's rules.
            on: The interventions, and what records.
            tracker: Follows the model's forwards.
        """
        self._model, self._family, self._on, self._tracker = model, family, on, tracker
        layers = tuple(family.decoder_layers(model))
        self._hidden = HiddenHooks(layers, self._edit_hidden)
        self._mlps = MLPHooks(layers, self._edit_mlp)
        self._early: frozenset[int] = frozenset()

    def sync(self) -> None:
        """Set the hooks that something needs, and take the others away.

        Raises:
            UnsupportedModelError: Parallel residual streams, or a layer without an MLP that can be located.
        """
        sessions, recorder = self._on.every_session, self._on.replay_recorder
        needs_hidden = recorder is not None and (recorder.wants_hidden or recorder.differentiable)
        self._early = self._on.early_layers
        if self._early or any(overrides(session, "edit_hidden") for session in sessions):
            require_one_stream(self._model, self._family, task=_TASK)
            needs_hidden = True
        self._hidden.set(needs_hidden)
        self._mlps.set(any(overrides(each, "edit_mlp") for each in sessions), model=type(self._model).__name__)

    def remove(self) -> None:
        """Take all hooks away."""
        try:
            self._hidden.set(False)
        finally:
            self._mlps.set(False)

    def _edit_hidden(
        self, layer: int, hidden: Float[torch.Tensor, "batch query *streams hidden"]
    ) -> Float[torch.Tensor, "batch query *streams hidden"] | None:
        forward = self._tracker.current
        if forward is None:
            return None
        on, start = self._on, hidden.shape[1] - forward.num_rows
        editing = [each for each in on.active if overrides(each.session, "edit_hidden")]
        # Parallel streams have another shape
        edited = edit_stream(editing, layer, hidden, _rows(forward, hidden)) if editing else hidden
        recorder = on.recorder
        if recorder is not None and recorder.differentiable and layer == -1:
            edited = edited.detach().requires_grad_()
        if recorder is not None and recorder.wants_hidden:
            recorder.record_hidden(layer, edited[:, start:])
        if layer in self._early:
            on.keep_early(layer, edited[:, start:].detach())
        return None if edited is hidden else edited

    def _edit_mlp(
        self, layer: int, output: Float[torch.Tensor, "*batch_query hidden"]
    ) -> Float[torch.Tensor, "*batch_query hidden"] | None:
        forward = self._tracker.current
        editing = [each for each in self._on.active if overrides(each.session, "edit_mlp")]
        if forward is None or not editing:
            return None
        # Some blocks of experts, and OPT, have the tokens of all samples in one axis
        shown = output.unflatten(0, (forward.batch_size, -1)) if output.dim() == 2 else output
        edited = edit_stream(editing, layer, shown, _rows(forward, shown), hook="edit_mlp")
        return None if edited is shown else edited.reshape(output.shape)


def _rows(forward: ForwardInfo, hidden: torch.Tensor) -> Int[torch.Tensor, "row"]:
    """Indices of the predicting rows, from the end: Gemma4 runs its last layers on the last row of a prompt only."""
    size, device = hidden.shape[1], hidden.device
    start = size - forward.num_rows
    found: torch.Tensor = forward.once(("rows", size, device), lambda: torch.arange(start, size, device=device))
    return found
