"""Everything attached to one model: the tap, the followed forwards, the sessions in order, and a recorder."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import UnsupportedModelError, message, task
from lvlmscope.hooks.attention_math import AttentionCall, row_scores, softmax_rows, visibility
from lvlmscope.hooks.attention_tap import KernelOutput
from lvlmscope.hooks.gradient_path import ForwardGraph, GradientPath, require_gradients
from lvlmscope.hooks.hidden_states import HiddenHooks
from lvlmscope.models.families import Family
from lvlmscope.runtime.active_intervention import ActiveIntervention, Recorder
from lvlmscope.runtime.edit_validation import validate_edit
from lvlmscope.runtime.output_patching import apply_gain, attach_gradient, patch_output, recompute_output
from lvlmscope.runtime.predicting_rows import ForwardTracker
from lvlmscope.runtime.protocol import ForwardInfo, ModelInfo, Session

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
        self.follower = ForwardTracker(family.core(model), lambda ids: family.image_mask(model, ids))
        self.follower.on_begin, self.follower.on_end = self._begin, self._end
        layers = tuple(family.decoder_layers(model))
        config = family.text_config(model)
        self.site = ModelInfo(
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
        for performance in self.active:
            performance.restart(self.site)

    def count_replay(self) -> None:
        """Let the reports speak of the last replay: a given answer is replayed, only its prompt was generated from."""
        for performance, replayed in zip(self.active, self.replayed, strict=True):
            performance.take(replayed)

    @task("switch on an intervention that needs gradients")
    def refresh(self) -> None:
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
            self.follower.install()
        recorder = self.recorder
        needs_hidden = recorder is not None and (recorder.wants_hidden or recorder.differentiable)
        needs_hidden |= any(_overrides(s, "edit_hidden") for s in self.sessions)
        self._hidden.set(needs_hidden)
        self._path.set(self._differentiates)

    def remove(self) -> None:
        """Leave the model as it was."""
        self._hidden.set(False)
        self._path.set(False)
        self.follower.remove()
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
        before, self._generating = (self.follower.prompt_length, self._generating), True
        mode = torch.is_grad_enabled()
        self.follower.remember(ids, ids.shape[1])
        try:
            yield
        finally:
            self.follower.prompt_length, self._generating = before
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
        kept, length = self.active, self.follower.prompt_length
        self.active = [ActiveIntervention(p.intervention, p.intervention.start(self.site)) for p in kept]
        self.recorder = recorder
        try:
            self.refresh()
            yield
        finally:
            self.replayed = self.active
            self.active, self.recorder = kept, None
            self.follower.prompt_length = length
            if kept:
                self.refresh()
            else:
                self.remove()

    def _first_row(self) -> int | None:
        return None if self.follower.current is None else self.follower.current.first_row

    def _begin(self, forward: ForwardInfo) -> None:
        self.seen_layers = []
        for performance in self.active:
            performance.forwards += 1
            performance.rows += forward.batch_size * forward.num_rows
            performance.session.begin_forward(forward)
        # A replay, or a forward that the user runs, chooses no token
        asking = self.sessions if self._generating and self.recorder is None else []
        self._path.plan({layer for session in asking for layer in session.gradient_layers(forward)})

    def _deliver(self, graph: ForwardGraph) -> None:
        forward = self.follower.current
        assert forward is not None
        for session in self.sessions:
            if session.gradient_layers(forward):
                session.on_graph(graph)

    def _end(self, logits: torch.Tensor) -> None:
        if not self.seen_layers:
            got = f"{type(self.model).__name__}, whose decoder never called the tap"
            fix = "register a Family for the model"
            raise UnsupportedModelError(message(got, "decoders on the attention registry", fix, task="read attention"))
        for session in self.sessions:
            session.end_forward(logits)

    def _handle(self, call: AttentionCall, run: Callable[[], KernelOutput]) -> KernelOutput:
        """The kernel's output with the heads replaced whose rows were edited."""
        layer = int(call.module.layer_idx)  # type: ignore[arg-type]
        forward = self.follower.current
        assert forward is not None
        # Layers with shared keys may be given the last queries only (Gemma4)
        dropped = forward.num_queries - call.query.shape[2]
        call = replace(call, first_row=call.first_row - dropped, crosses=layer in self._crossing)
        self.seen_layers.append(layer)
        recorded = self.recorder is not None and self.recorder.differentiable
        path = self._path
        opens = path.starts_at(layer)
        if self.recorder is None and not (opens or path.is_open or any(_reads_rows(s) for s in self.sessions)):
            return run()
        rows = self._rows(call, layer, differentiable=recorded or path.is_open)
        if opens:
            path.open()
            rows = rows.as_leaf()
        edited = self._edit(rows)
        if self.recorder is not None:
            self.recorder.record_rows(layer, edited)
        if path.is_open:
            path.keep(layer, edited)
            with torch.no_grad():
                output, weights = patch_output(run(), rows, edited, call)
            output = attach_gradient(output, edited, call)
        elif recorded:
            output, weights = recompute_output(run, edited, call)
        else:
            output, weights = patch_output(run(), rows, edited, call)
        return apply_gain(output, self._gains(edited), call.first_row), weights

    def _rows(self, call: AttentionCall, layer: int, *, differentiable: bool) -> AttentionRows:
        forward = self.follower.current
        assert forward is not None
        scores = row_scores(call, differentiable=differentiable)
        visible, bias = visibility(call)
        masked = (scores if bias is None else scores + bias).masked_fill(~visible, float("-inf"))
        keys, device = masked.shape[-1], masked.device
        image = forward.image_keys.new_ones(1, 1) if call.crosses else _aligned(forward.image_keys, keys)[:, None]
        image = image.to(device).expand(masked.shape[0], 1, keys)
        positions = torch.arange(forward.image_keys.shape[1], device=device)
        answer = (positions >= forward.prompt_length) & (positions <= forward.row_positions.to(device)[:, None])
        answer = answer.new_zeros(answer.shape[0], keys) if call.crosses else _aligned(answer, keys)
        return AttentionRows(
            softmax_rows(masked, call).transpose(1, 2),
            image,
            answer_keys=answer[None],
            visible_keys=visible.any(1).expand(image.shape[0], -1, -1),
            layer=layer,
            scores=lambda: masked.transpose(1, 2),
        )

    def _edit(self, rows: AttentionRows) -> AttentionRows:
        for performance in self.active:
            weights = performance.session.edit_attention(rows)
            if weights is None:
                continue
            rows, count = validate_edit(rows, weights, performance.intervention)
            if count:
                performance.edited[rows.layer or 0] = performance.edited.get(rows.layer or 0, 0) + count
        return rows

    def _gains(self, rows: AttentionRows) -> list[tuple[torch.Tensor, str]]:
        gains: list[tuple[torch.Tensor, str]] = []
        for performance in self.active:
            gain = performance.session.head_gain(rows)
            if gain is None:
                continue
            count = int((gain != 1).sum())
            if count:
                performance.scaled[rows.layer or 0] = performance.scaled.get(rows.layer or 0, 0) + count
                gains.append((gain, performance.session.gain_rows))
        return gains

    def _edit_hidden(self, layer: int, hidden: torch.Tensor) -> torch.Tensor | None:
        forward = self.follower.current
        if forward is None:
            return None
        # From the end: Gemma4 runs its last layers on the last row of a prompt only
        start, edited = hidden.shape[1] - forward.num_rows, hidden
        rows = torch.arange(start, hidden.shape[1], device=hidden.device)
        for performance in self.active:
            new = performance.session.edit_hidden(layer, edited, rows)
            if new is not None and not torch.equal(new, edited):
                performance.shifted[layer] = performance.shifted.get(layer, 0) + 1
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


def _aligned(flags: torch.Tensor, keys: int) -> torch.Tensor:
    """Flags over positions cut or padded to the key axis: a window keeps the last, a static cache has spare ones."""
    length = flags.shape[-1]
    if length >= keys:
        return flags[..., length - keys :]
    return torch.nn.functional.pad(flags, (0, keys - length))
