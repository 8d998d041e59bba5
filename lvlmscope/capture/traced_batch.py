"""A batch that is ready, generated and replayed under the interventions that are on: its traces, or their signals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lvlmscope.capture.generation import generate_answer
from lvlmscope.capture.memory_limit import choose_keeping, layerwise_needed
from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.provenance import describe_origin
from lvlmscope.capture.refusals import refuse_chance, refuse_gradients, refuse_streams
from lvlmscope.capture.replay import replay_answer
from lvlmscope.capture.seeding import own_noise, seeded
from lvlmscope.capture.signal_reduction import reduce_trace
from lvlmscope.capture.trace_assembly import TracedBatch, assemble_trace
from lvlmscope.decoding.generation_record import Generation, teacher_force
from lvlmscope.errors import ModelInputError, message
from lvlmscope.inputs.context_limits import require_context, require_images
from lvlmscope.inputs.preparation import ModelInputs
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import LoadedModel, unwrap
from lvlmscope.models.padded_batches import refuse_padding
from lvlmscope.runtime.attachment import instrumentation_of
from lvlmscope.runtime.compiled_modules import running_originals
from lvlmscope.runtime.generation_settings import answer_limit, plain_settings
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
    """

    batch: TracedBatch
    reduced_to: tuple[WordSignal, ...]
    provenance: dict[str, Any]
    effects: tuple[dict[str, Any], ...]

    def traces(self) -> list[Trace]:
        """One trace for each sample."""
        return list(self._each())

    def signals(self) -> list[SignalTrace]:
        """The signals of each sample, reduced on the model's device, one sample after the other.

        Raises:
            EvaluationError: A signal needs an image, and there is none.
        """
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
        refuse_chance(bare)
        refuse_streams(bare, family, hidden_states=options.hidden_states)
        instrumentation.restart()
        require_images(bare, family, prepared.inputs)
        refuse_padding(bare, family, prepared.inputs["attention_mask"])
        prompt = prepared.inputs["input_ids"].shape[1]
        new_tokens = generation.get("max_new_tokens") or 1 if answer is None else len(answer)
        require_context(bare, family, prompt, new_tokens)
        layerwise = options.max_memory is not None and layerwise_needed(
            options,
            bare,
            family,
            prepared.inputs,
            answer_limit(family.core(bare), prompt, generation) if answer is None else len(answer),
        )
        if options.gradients:
            refuse_gradients(bare, family, layerwise=layerwise, interventions=instrumentation.active)
        made = _generate(bare, family, prepared, answer, generation, progress=progress)
        switched = [p.intervention for p in instrumentation.active]
        replay = replay_answer(
            bare,
            instrumentation,
            made,
            gradients=options.gradients,
            hidden_states=options.hidden_states,
            keeping=choose_keeping(bare, family, made, options),
            layerwise=layerwise,
        )
        if answer is not None:
            instrumentation.count_replay()
        effects = tuple(p.report() for p in instrumentation.active)
    name = model.name if isinstance(model, LoadedModel) else str(getattr(bare, "name_or_path", "") or "")
    settings = made.settings | {"seed": seed}
    origin = describe_origin(bare, name=name, settings=settings, interventions=switched, replay=replay)
    batch = TracedBatch(model=bare, family=family, prepared=prepared, generation=made, replay=replay)
    return ReplayedBatch(batch=batch, reduced_to=options.signals, provenance=origin, effects=effects)


def _generate(
    model: Any,
    family: Family,
    prepared: ModelInputs,
    answer: torch.Tensor | None,
    options: dict[str, Any],
    *,
    progress: bool,
) -> Generation:
    if answer is None:
        return generate_answer(model, family, prepared.inputs, options, progress=progress)
    if options:
        got, fix = f"answer= and {', '.join(options)}", "leave the generation options out"
        raise ModelInputError(message(got, "answer= alone", fix, task="trace a given answer"))
    # One greedy step fills the cache with the prompt as generate itself does
    one = plain_settings(family.core(model)) | {"max_new_tokens": 1, "do_sample": False}
    first = generate_answer(model, family, prepared.inputs, one, progress=False)
    return teacher_force(first, answer)
