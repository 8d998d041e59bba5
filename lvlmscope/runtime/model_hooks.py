"""Everything attached to one model: the tap, the followed forwards, the sessions in order, and a recorder."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import UnsupportedModelError, message, task
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_options import unknown_options
from lvlmscope.hooks.attention_tap import KernelOutput
from lvlmscope.hooks.gradient_path import ForwardGraph, GradientPath, require_gradients
from lvlmscope.hooks.hidden_states import HiddenHooks
from lvlmscope.models.families import Family
from lvlmscope.runtime.active_intervention import ActiveIntervention, Recorder
from lvlmscope.runtime.edit_validation import validate_edit
from lvlmscope.runtime.hidden_layers import refuse_hidden_layers
from lvlmscope.runtime.output_patching import apply_gain, attach_gradient, patch_output, recompute_output
from lvlmscope.runtime.predicting_rows import ForwardTracker
from lvlmscope.runtime.protocol import ForwardInfo, ModelInfo, Session
from lvlmscope.runtime.row_reading import RowCheck, read_rows

__all__ = ["Instrumentation"]


class Instrumentation:
    """Hooks of one model; installed on first use, removed with the last intervention."""

    def __init__(self, model: torch.nn.Module, family: Family) -> None:
        """Prepare; the model is not touched yet.

        Args:
            model: The whole bare model.
            family: Its family's rules.
        """
        self.model = model
        self.family = family
        self.active: list[ActiveIntervention] = []
        self.recorder: Recorder | None = None
        self.replayed: list[ActiveIntervention] = []
        self.seen_layers: list[int] = []
        self.tracker = ForwardTracker(family.core(model), lambda ids: family.image_mask(model, ids))
        self.tracker.on_begin, self.tracker.on_end = self._begin, self._end
        layers = tuple(family.decoder_layers(model))
        config = family.text_config(model)
        self.model_info = ModelInfo(
            model=model,
            decoder_layers=layers,
            num_layers=len(layers),
            num_heads=config.num_attention_heads,
            hidden_size=config.hidden_size,
            family=family.name,
        )
        self._crossing = family.crossing_layers(model)
        self._tap = family.make_tap(model, self._first_row, self._handle)
        self._hidden = HiddenHooks(layers, self._edit_hidden)
        self._path = GradientPath(family.core(model), self._deliver)
        self._check = RowCheck()
        self._generating = False
        self._built = False

    @property
    def sessions(self) -> list[Session]:
        """The sessions in the order in which they act."""
        return [p.session for p in self.active]

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the model's own attention kernels."""
        return self._tap.kernels

    @property
    def _differentiates(self) -> bool:
        return any(_overrides(s, "gradient_layers") for s in self.sessions)

    def restart(self) -> None:
        """Give every intervention a fresh session, so that its report speaks of what comes next only."""
        for each in self.active:
            each.restart(self.model_info)

    def count_replay(self) -> None:
        """Let the reports speak of the last replay: a given answer is replayed, only its prompt was generated from."""
        for each, replayed in zip(self.active, self.replayed, strict=True):
            each.take(replayed)

    @task("switch on an intervention that needs gradients")
    def sync_hooks(self) -> None:
        """Install what is not installed yet, and the hidden-state hooks only while something needs them.

        Raises:
            UnsupportedModelError: The decoder's attention cannot be reached, or an intervention needs gradients that
                cannot pass through it.
        """
        if self._differentiates:
            require_gradients(self.model, running=False)
        if not self._built:
            self._built = True
            self._tap.install()
            self.tracker.install()
        recorder = self.recorder
        needs_hidden = recorder is not None and (recorder.wants_hidden or recorder.differentiable)
        needs_hidden |= any(_overrides(s, "edit_hidden") for s in self.sessions)
        self._hidden.set(needs_hidden)
        self._path.set(self._differentiates)

    def require_kernels(self) -> None:
        """Refuse attention kernels that cannot be read, before anything is generated.

        Raises:
            UnsupportedOptionError: The model runs on such a kernel.
            UnsupportedModelError: The decoder's attention cannot be reached.
        """
        if not self._built:
            self._tap.install()
            self._tap.remove()

    def remove(self) -> None:
        """Leave the model as it was."""
        self._hidden.set(False)
        self._path.set(False)
        self.tracker.remove()
        self._tap.remove()
        self._built = False

    @contextmanager
    def generation(self, ids: torch.Tensor, options: Mapping[str, Any]) -> Iterator[None]:
        """Follow one call of ``generate``: its prompt's length is known, and graphs may be asked for.

        Args:
            ids: Prompt ids with padding ``[batch, key]``.
            options: Settings in force.

        Yields:
            Nothing.

        Raises:
            UnsupportedOptionError: An option that an intervention refuses, or a mode without the gradients it needs.
        """
        if self._differentiates:
            with task("generate with an intervention that needs gradients"):
                require_gradients(self.model, running=True)
        for session in self.sessions:
            session.begin_generate(options)
        before, self._generating = (self.tracker.prompt_length, self._generating), True
        mode = torch.is_grad_enabled()
        self.tracker.set_sequence(ids, ids.shape[1])
        try:
            yield
        finally:
            self.tracker.prompt_length, self._generating = before
            self._path.close()  # hooks are not called when a forward is interrupted from the keyboard
            torch.set_grad_enabled(mode)

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Hang a recorder in, with fresh sessions, so that a replay is not counted as generation.

        Args:
            recorder: Takes rows and hidden states.

        Yields:
            Nothing.
        """
        kept, length = self.active, self.tracker.prompt_length
        self.active = [ActiveIntervention(p.intervention, p.intervention.start(self.model_info)) for p in kept]
        self.recorder = recorder
        try:
            self.sync_hooks()
            yield
        finally:
            self.replayed = self.active
            self.active, self.recorder = kept, None
            self.tracker.prompt_length = length
            if kept:
                self.sync_hooks()
            else:
                self.remove()

    def _first_row(self) -> int | None:
        return None if self.tracker.current is None else self.tracker.current.first_row

    def _begin(self, forward: ForwardInfo) -> None:
        self.seen_layers = []
        self._check.begin()
        for each in self.active:
            each.forwards += 1
            each.rows += forward.batch_size * forward.num_rows
            each.session.begin_forward(forward)
        # A replay, or a forward that the user runs, chooses no token
        asking = self.sessions if self._generating and self.recorder is None else []
        self._path.request({layer for session in asking for layer in session.gradient_layers(forward)})

    def _deliver(self, graph: ForwardGraph) -> None:
        forward = self.tracker.current
        assert forward is not None
        for session in self.sessions:
            if session.gradient_layers(forward):
                session.on_graph(graph)

    def _end(self, logits: torch.Tensor, cache: Any) -> None:
        if not self.seen_layers:
            got = f"{type(self.model).__name__}, whose decoder never called the tap"
            fix = "register a Family for the model"
            raise UnsupportedModelError(message(got, "decoders on the attention registry", fix, task="read attention"))
        refuse_hidden_layers(self.model, cache, self.seen_layers)
        self._check.judge()
        for session in self.sessions:
            session.end_forward(logits)

    def _visit(self, call: AttentionCall, layer: int) -> None:
        """Note that a layer attends; one that does so twice in a forward has no single row per position."""
        if layer in self.seen_layers and not self.tracker.is_resumed:
            got = f"{type(call.module).__name__}, which calls its attention function twice in layer {layer}"
            fix = "register a Family whose make_tap reads one of them"
            raise UnsupportedModelError(message(got, "one attention call per layer", fix, task="read attention"))
        self.seen_layers.append(layer)

    def _handle(self, call: AttentionCall, run: Callable[[], KernelOutput]) -> KernelOutput:
        """The kernel's output with the heads replaced whose rows were edited."""
        layer = int(call.module.layer_idx)  # type: ignore[arg-type]
        forward = self.tracker.current
        assert forward is not None
        # Layers with shared keys may be given the last queries only (Gemma4)
        dropped = forward.num_queries - call.query.shape[2]
        call = replace(call, first_row=call.first_row - dropped, crosses=layer in self._crossing)
        self._visit(call, layer)
        recorded = self.recorder is not None and self.recorder.differentiable
        path = self._path
        opens = path.begins_at(layer)
        if self.recorder is None and not (opens or path.is_open or any(_reads_rows(s) for s in self.sessions)):
            return run()
        rows = read_rows(call, forward, layer, differentiable=recorded or path.is_open)
        if self.recorder is not None or forward.is_prompt or unknown_options(call):
            run = self._check.watched(run, call, rows)
        if opens:
            path.open()
            rows = rows.as_leaf()
        edited = self._edit(rows)
        if self.recorder is not None:
            self.recorder.record_rows(layer, edited)
        if path.is_open:
            path.collect(layer, edited)
            with torch.no_grad():
                output, weights = patch_output(run(), rows, edited, call)
            output = attach_gradient(output, edited, call)
        elif recorded:
            output, weights = recompute_output(run, edited, call)
        else:
            output, weights = patch_output(run(), rows, edited, call)
        return apply_gain(output, self._gains(edited), call.first_row), weights

    def _edit(self, rows: AttentionRows) -> AttentionRows:
        for each in self.active:
            weights = each.session.edit_attention(rows)
            if weights is None:
                continue
            rows, count = validate_edit(rows, weights, each.intervention)
            if count:
                each.edited[rows.layer or 0] = each.edited.get(rows.layer or 0, 0) + count
        return rows

    def _gains(self, rows: AttentionRows) -> list[tuple[torch.Tensor, str]]:
        gains: list[tuple[torch.Tensor, str]] = []
        for each in self.active:
            gain = each.session.head_gain(rows)
            if gain is None:
                continue
            count = int((gain != 1).sum())
            if count:
                each.scaled[rows.layer or 0] = each.scaled.get(rows.layer or 0, 0) + count
                gains.append((gain, each.session.gain_rows))
        return gains

    def _edit_hidden(self, layer: int, hidden: torch.Tensor) -> torch.Tensor | None:
        forward = self.tracker.current
        if forward is None:
            return None
        # From the end: Gemma4 runs its last layers on the last row of a prompt only
        start, edited = hidden.shape[1] - forward.num_rows, hidden
        rows = torch.arange(start, hidden.shape[1], device=hidden.device)
        for each in self.active:
            new = each.session.edit_hidden(layer, edited, rows)
            if new is not None and not torch.equal(new, edited):
                each.shifted[layer] = each.shifted.get(layer, 0) + 1
                edited = new
        if self.recorder is not None and self.recorder.differentiable and layer == -1:
            edited = edited.detach().requires_grad_()
        if self.recorder is not None and self.recorder.wants_hidden:
            self.recorder.record_hidden(layer, edited[:, start:])
        return None if edited is hidden else edited


def _overrides(session: Session, name: str) -> bool:
    return getattr(type(session), name, None) is not getattr(Session, name)


def _reads_rows(session: Session) -> bool:
    return _overrides(session, "edit_attention") or _overrides(session, "head_gain")
