"""Everything attached to one model: the tap, the followed forwards, the sessions in order, and a recorder."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from lvlmscope.errors import LvlmscopeError, UnsupportedModelError, message, task
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_options import unknown_options
from lvlmscope.hooks.attention_tap import KernelOutput
from lvlmscope.hooks.gradient_path import ForwardGraph, GradientPath, require_gradients
from lvlmscope.models.decoder_shape import refuse_unequal_heads
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.runtime.active_intervention import ActiveIntervention, Recorder
from lvlmscope.runtime.active_set import ActiveSet, overrides
from lvlmscope.runtime.compiled_modules import running_originals
from lvlmscope.runtime.edit_chain import edit_rows, head_gains
from lvlmscope.runtime.forward_state import ReplayState
from lvlmscope.runtime.hidden_layers import refuse_hidden_layers, refuse_second_call
from lvlmscope.runtime.model_lock import model_lock
from lvlmscope.runtime.output_patching import apply_gain, make_output
from lvlmscope.runtime.predicting_rows import ForwardTracker
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.prompt_rows import editing_prompt_rows, refuse_chunks, with_prompt_edits
from lvlmscope.runtime.protocol import ForwardInfo, ModelInfo
from lvlmscope.runtime.row_reading import read_rows
from lvlmscope.runtime.stream_hooks import StreamHooks

__all__ = ["Instrumentation"]


class Instrumentation(ActiveSet):
    """Hooks of one model; installed on first use, removed with the last intervention."""

    def __init__(self, model: torch.nn.Module, family: Family) -> None:
        """Prepare; the bare model is not touched yet."""
        refuse_unequal_heads(model, family, task="read attention")
        super().__init__()
        self.model = model
        self.family = family
        self.outer: torch.nn.Module = model
        self.tokenizer: Any = None
        self.lock = model_lock(model)
        self.tracker = ForwardTracker(
            family.core(model), lambda ids: family.image_mask(model, ids), lambda: bool(self.active or self.recorder)
        )
        self.tracker.on_begin, self.tracker.on_end = self._begin, self._end
        self.tracker.on_part = lambda: refuse_chunks(self.active, "a part of a prompt without its last row")
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
        self._streams = StreamHooks(model, family, self, self.tracker)
        self._path = GradientPath(family.core(model), self._deliver)
        self._installed: ExitStack | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Instrumentation":
        """The same: a hooked module that is copied alone keeps none of its own."""
        return self

    def know(self, given: Any) -> None:
        """Note what is switched on in: the wrapper around the model, and its tokenizer.

        Args:
            given: What ``load`` gave, or a model.
        """
        loaded = isinstance(given, LoadedModel)
        if not self.attached:
            self.outer = given.model if loaded else given
        if loaded:
            self.tokenizer = getattr(given.processor, "tokenizer", given.processor)

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the model's own attention kernels."""
        return self._tap.kernels

    @task("switch on an intervention that needs gradients")
    def sync_hooks(self) -> None:
        """Install what is not installed yet, and the hidden-state hooks only while something needs them.

        Raises:
            UnsupportedModelError: The decoder's attention cannot be reached, or an intervention needs gradients that
                cannot pass through it.
        """
        if self.differentiates:
            require_gradients(self.model, running=False)
        if self._installed is None:
            with ExitStack() as steps:  # each step's end is noted before it begins: one that fails half-way is undone
                steps.enter_context(running_originals(self.outer))
                steps.callback(self._tap.remove)
                self._tap.install()
                steps.callback(self.tracker.remove)
                self.tracker.install()
                steps.callback(self._streams.remove)
                steps.callback(self._path.set, False)
                self._installed = steps.pop_all()
        self._streams.sync()
        self._path.set(self.differentiates)

    def require_kernels(self) -> None:
        """Refuse attention kernels that cannot be read, before anything is generated.

        Raises:
            UnsupportedOptionError: The model runs on such a kernel.
            UnsupportedModelError: The decoder's attention cannot be reached.
        """
        if self._installed is None:
            with ExitStack() as steps:
                steps.callback(self._tap.remove)
                self._tap.install()

    def remove(self) -> None:
        """Leave the model as it was; a step that fails does not keep the others."""
        installed, self._installed = self._installed, None
        if installed is not None:
            installed.close()

    @contextmanager
    def generation(
        self, ids: torch.Tensor, options: Mapping[str, Any], inputs: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """Follow one call of ``generate``: its prompt's length is known, and graphs may be asked for.

        Args:
            ids: Prompt ids with padding ``[batch, key]``.
            options: Settings in force.
            inputs: The prompts' inputs by name.

        Yields:
            Nothing.

        Raises:
            UnsupportedOptionError: An option that an intervention refuses, or a mode without the gradients it needs.
        """
        if any(overrides(s, "gradient_layers") for s in (each.session for each in self.active)):
            with task("generate with an intervention that needs gradients"):
                require_gradients(self.model, running=True)
        chunk = options.get("prefill_chunk_size")
        refuse_chunks(self.active, chunk and f"prefill_chunk_size={chunk}")
        with ExitStack() as steps:
            for each in self.active:
                steps.callback(each.call, "end_generate")
                each.call("begin_generate", options)
            steps.callback(self.tracker.forget_inputs)
            steps.callback(setattr, self.tracker, "prompt_length", self.tracker.prompt_length)
            steps.callback(setattr, self._here, "generating", self._here.generating)
            steps.callback(torch.set_grad_enabled, torch.is_grad_enabled())
            steps.callback(self._path.close)  # hooks are not called when a forward is interrupted from the keyboard
            steps.push(self._require_edits)
            self._here.generating = True
            self.tracker.set_sequence(ids, ids.shape[1], inputs)
            yield

    def _require_edits(self, _: Any, error: BaseException | None, __: Any) -> None:
        """Look at the edits of a whole answer; what generate made of a spoiled one says less."""
        if error is None or (isinstance(error, RuntimeError | ValueError) and not isinstance(error, LvlmscopeError)):
            for each in self.active:
                each.record.require_edits()

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Hang a recorder in, with fresh sessions, so that a replay is not counted as generation.

        Args:
            recorder: Takes rows and hidden states.

        Yields:
            Nothing.
        """
        fresh = [each.fresh(self.model_info) for each in self.active]
        with self.lock, ExitStack() as steps:
            steps.callback(self._end_replay)
            steps.callback(self.tracker.forget_inputs)
            steps.callback(setattr, self.tracker, "prompt_length", self.tracker.prompt_length)
            self._replay = ReplayState(recorder, fresh)
            self.sync_hooks()
            yield

    @contextmanager
    def apart(self, active: list[ActiveIntervention], known: dict[str, Any]) -> Iterator[None]:
        """Another sequence of this thread.

        Args:
            active: The only interventions that act on it.
            known: What is known of the sequence, filled when it is left.

        Yields:
            Nothing.
        """
        with ExitStack() as steps:
            steps.callback(setattr, self, "_replay", self._replay)
            steps.callback(setattr, self._here, "early", self._here.early)
            steps.enter_context(self.tracker.another_sequence(known))
            self._replay, self._here.early = ReplayState(None, active), {}
            if active:
                self.sync_hooks()
            yield

    def prompt_inputs(self, inputs: Mapping[str, Any]) -> PromptInputs:
        """Prompts of this model for its interventions."""
        image = self.family.image_mask(self.model, inputs["input_ids"])
        return PromptInputs(inputs=inputs, image_keys=image, tokenizer=self.tokenizer)

    def _end_replay(self) -> None:
        replay, self._replay = self._replay, None
        self.replayed = [] if replay is None else replay.active
        if self.attached:
            self.sync_hooks()
        else:
            self.remove()

    def _first_row(self) -> int | None:
        return None if self.tracker.current is None else self.tracker.current.first_row

    def _begin(self, forward: ForwardInfo) -> None:
        here = self._here
        here.seen_layers = []
        here.check.begin()
        for each in self.active:
            each.forwards += 1
            each.rows += forward.batch_size * forward.num_rows
            each.call("begin_forward", forward)
        # A replay, or a forward that the user runs, chooses no token
        asking = self.active if here.generating and self.recorder is None else []
        asked = [(each, each.call("gradient_layers", forward)) for each in asking]
        here.differentiating = [each for each, layers in asked if layers]
        self._path.request({layer for _, layers in asked for layer in layers})

    def _deliver(self, graph: ForwardGraph) -> None:
        for each in self._here.differentiating:
            each.call("on_graph", graph)

    def _end(self, logits: torch.Tensor, cache: Any) -> None:
        here = self._here
        if not here.seen_layers:
            got = f"{type(self.model).__name__}, whose decoder never called the tap"
            fix = "register a Family for the model"
            raise UnsupportedModelError(message(got, "decoders on the attention registry", fix, task="read attention"))
        refuse_hidden_layers(self.model, cache, here.seen_layers)
        for each in self.active:
            each.record.compare()
            if here.check.is_due or not here.generating:  # the forward is waited for anyway, or nothing comes after it
                each.record.require_edits()
        here.check.judge()
        for each in self.active:
            each.call("end_forward", logits, shown={"logits": logits})
            if not here.generating:
                each.record.require_unwritten()

    def _handle(self, call: AttentionCall, run: Callable[[], KernelOutput]) -> KernelOutput:
        """The kernel's output with the heads replaced whose rows were edited."""
        layer = int(call.module.layer_idx)  # type: ignore[arg-type]
        forward = self.tracker.current
        assert forward is not None
        recorder = self.recorder
        recorded = recorder is not None and recorder.differentiable
        exact = recorder is not None and recorded and recorder.exact
        # Layers with shared keys may be given the last queries only (Gemma4)
        first = max(call.first_row - forward.num_queries + call.query.shape[2], 0)
        call = replace(call, first_row=first, crosses=layer in self._crossing, whole_graph=exact and first > 0)
        if layer in self._here.seen_layers and not self.tracker.is_resumed:
            refuse_second_call(call.module, layer)
        self._here.seen_layers.append(layer)
        run = self._with_prompt_edits(run, call, forward, layer) if first else run
        path = self._path
        opens = path.begins_at(layer)
        if recorder is None and not (opens or path.is_open or any(each.reads(layer) for each in self.active)):
            return run()
        rows = read_rows(call, forward, layer, differentiable=recorded or path.is_open)
        watched = recorder is not None or forward.is_prompt or bool(unknown_options(call))
        if watched:
            run = self._here.check.watched(run, call, rows)
        if opens:
            path.open()
            rows = rows.as_leaf()
        edited = edit_rows(self.active, rows)
        if recorder is not None:
            recorder.record_rows(layer, edited)
        if path.is_open:
            path.collect(layer, edited)
        # Only eager gives weights, which a caller may have asked for
        recomputed = recorded or (edited.changes_all_heads and not watched and call.kernel != "eager")
        output, weights = make_output(run, rows, edited, call, attached=path.is_open or exact, recomputed=recomputed)
        return apply_gain(output, head_gains(self.active, edited), call.first_row), weights

    def _with_prompt_edits(
        self, run: Callable[[], KernelOutput], call: AttentionCall, forward: ForwardInfo, layer: int
    ) -> Callable[[], KernelOutput]:
        """The kernel, and what sessions make of the rows before the first predicting one."""
        editing = editing_prompt_rows(self.active, layer)
        return partial(with_prompt_edits, run, call, forward, layer, editing) if editing else run
