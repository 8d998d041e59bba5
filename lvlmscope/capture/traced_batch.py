"""A batch that is ready, generated and replayed under the interventions that are on: its traces, or their signals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lvlmscope.capture.generation import generate_answer, search_beams
from lvlmscope.capture.memory_limit import choose_keeping
from lvlmscope.capture.mixing_memory import mixing_bytes
from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.portions import Portions, portions
from lvlmscope.capture.provenance import describe_origin
from lvlmscope.capture.refusals import refuse_chance, refuse_gradients, refuse_streams
from lvlmscope.capture.replay import Replay, replay_answer
from lvlmscope.capture.seeding import own_noise, seeded
from lvlmscope.capture.signal_reduction import reduce_trace
from lvlmscope.capture.step_windows import reduce_in_windows
from lvlmscope.capture.trace_assembly import TracedBatch, assemble_trace
from lvlmscope.decoding.generation_record import Generation, teacher_force
from lvlmscope.errors import ModelInputError, message
from lvlmscope.inputs.context_limits import require_context, require_images
from lvlmscope.inputs.preparation import ModelInputs
from lvlmscope.interface.progress import tell
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import LoadedModel, unwrap
from lvlmscope.models.padded_batches import refuse_padding
from lvlmscope.runtime.attachment import instrumentation_of
from lvlmscope.runtime.compiled_modules import running_originals
from lvlmscope.runtime.generation_settings import answer_limit, plain_settings, searches_beams
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.runtime.model_lock import model_lock
from lvlmscope.traces.signal_trace import SignalTrace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import WordSignal

__all__ = ["ReplayedBatch", "replay_prepared"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayedBatch:
    """A batch that was generated and replayed, with what all its samples share.

    Attributes:
        batch: Generation and replay.
        reduced_to: What rows are reduced to, where they are kept on the model's device for that.
        provenance: JSON values.
        effects: Reports of the interventions that were on.
        windows: Signals of each sample that were read some steps at a time; the batch then has no rows.
    """

    batch: TracedBatch
    reduced_to: tuple[WordSignal, ...]
    provenance: dict[str, Any]
    effects: tuple[dict[str, Any], ...]
    windows: tuple[SignalTrace, ...] = ()

    def traces(self) -> list[Trace]:
        """One trace for each sample."""
        return list(self._each())

    def signals(self) -> list[SignalTrace]:
        """The signals of each sample, reduced on the model's device, one sample after the other.

        Raises:
            EvaluationError: A signal needs an image, and there is none.
        """
        if self.windows:
            return [replace(each, provenance=self.provenance | each.provenance) for each in self.windows]
        return [reduce_trace(each, self.reduced_to) for each in self._each()]

    def _each(self) -> Iterator[Trace]:
        for sample in range(int(self.batch.generation.ids.shape[0])):
            yield assemble_trace(self.batch, sample, provenance=self.provenance, effects=self.effects)


def replay_prepared(
    model: Any,
    family: Family,
    prepared: ModelInputs,
    options: TraceOptions,
    *,
    answer: torch.Tensor | None = None,
    generation: dict[str, Any],
    seed: int | Sequence[int] | None = None,
    progress: bool = False,
) -> ReplayedBatch:
    """Generates and replays a batch that is ready, under the interventions that are on.

    Args:
        model: What ``load`` gave, or a bare model.
        family: Its family's rules.
        options: What to keep, or the signals to which rows are reduced.
        answer: Ids given in advance ``[step]``, None to generate.
        generation: Keyword arguments of ``generate``.
        seed: Seed of torch's generators, or a seed for each sample's own noise.
        progress: Show a bar.

    Returns:
        What traces or signals are made of.

    Raises:
        LvlmscopeError: As for ``trace``.
    """
    bare: Any = unwrap(model)
    outer = model.model if isinstance(model, LoadedModel) else model
    noise = own_noise(family.core(bare), seed) if isinstance(seed, Sequence) else seeded(seed)
    with model_lock(bare), running_originals(outer), noise:
        instrumentation = instrumentation_of(bare) or Instrumentation(bare, family)
        instrumentation.require_kernels()
        instrumentation.restart()
        new_tokens = generation.get("max_new_tokens") or 1 if answer is None else len(answer)
        _require_inputs(bare, family, prepared, new_tokens, hidden_states=options.hidden_states)
        active = instrumentation.active
        held = Portions()
        if options.max_memory is not None:
            prompt = prepared.inputs["input_ids"].shape[1]
            steps = answer_limit(family.core(bare), prompt, generation) if answer is None else len(answer)
            mixing = mixing_bytes(instrumentation, prepared.inputs, steps)
            held = portions(options, bare, family, prepared.inputs, steps, edited=bool(active), mixing=mixing)
        if options.gradients:
            refuse_gradients(bare, family, layerwise=held.layerwise, interventions=active)
        made = _generate(instrumentation, prepared, answer, generation, progress=progress)
        windows, replay = _replay(bare, instrumentation, prepared, made, options=options, held=held)
        if answer is not None:
            instrumentation.count_replay()
        effects = tuple(p.report() for p in active)
    name = model.name if isinstance(model, LoadedModel) else str(getattr(bare, "name_or_path", "") or "")
    about: dict[str, Any] = {"name": name, "settings": made.settings | {"seed": seed}}
    about |= {"interventions": [p.intervention for p in active], "replay": replay, "window": held.window}
    origin = describe_origin(bare, **about)
    batch = TracedBatch(model=bare, family=family, prepared=prepared, generation=made, replay=replay)
    return ReplayedBatch(
        batch=batch, reduced_to=options.signals, provenance=origin, effects=effects, windows=tuple(windows)
    )


def _require_inputs(model: Any, family: Family, prepared: ModelInputs, new_tokens: int, *, hidden_states: bool) -> None:
    """Refuses what cannot be traced before anything runs."""
    refuse_chance(model)
    refuse_streams(model, family, hidden_states=hidden_states)
    require_images(model, family, prepared.inputs)
    refuse_padding(model, family, prepared.inputs["attention_mask"])
    require_context(model, family, prepared.inputs["input_ids"].shape[1], new_tokens)


def _replay(
    model: Any,
    instrumentation: Instrumentation,
    prepared: ModelInputs,
    generation: Generation,
    *,
    options: TraceOptions,
    held: Portions,
) -> tuple[list[SignalTrace], Replay]:
    """The whole answer's replay; or the signals of some steps at a time, with how their replays went."""
    if held.window is not None:
        return reduce_in_windows(model, instrumentation, prepared, generation, options=options, size=held.window)
    replay = replay_answer(
        model,
        instrumentation,
        generation,
        gradients=options.gradients,
        hidden_states=options.hidden_states,
        keeping=choose_keeping(model, instrumentation.family, generation, options),
        layerwise=held.layerwise,
    )
    return [], replay


def _generate(
    instrumentation: Instrumentation,
    prepared: ModelInputs,
    answer: torch.Tensor | None,
    options: dict[str, Any],
    *,
    progress: bool,
) -> Generation:
    model, family = instrumentation.model, instrumentation.family
    core: Any = family.core(model)
    beams = answer is None and searches_beams(core, options)
    if answer is None and not beams:
        return generate_answer(model, family, prepared.inputs, options, progress=progress, announced=True)
    if answer is not None and options:
        got, fix = f"answer= and {', '.join(options)}", "leave the generation options out"
        raise ModelInputError(message(got, "answer= alone", fix, task="trace a given answer"))
    # One greedy step fills the cache with the prompt as generate itself does
    one = plain_settings(core) | {"max_new_tokens": 1, "do_sample": False}
    if answer is not None:
        tell(answer.shape[-1], None)
        return teacher_force(generate_answer(model, family, prepared.inputs, one, progress=False), answer)
    kept = search_beams(model, family, prepared.inputs, options, progress=progress)
    with instrumentation.uncounted():
        return kept.after(generate_answer(model, family, prepared.inputs, one, progress=False))
