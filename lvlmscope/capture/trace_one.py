"""``trace``: what a model attended to while it wrote an answer about an image."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from lvlmscope.capture.generation import Generation, generate_answer, teacher_force
from lvlmscope.capture.memory_limit import choose_keeping, layerwise_needed
from lvlmscope.capture.options import Keep, Precision, TraceOptions
from lvlmscope.capture.provenance import describe_origin
from lvlmscope.capture.refusals import refuse_chance, refuse_gradients, refuse_streams
from lvlmscope.capture.replay import replay_answer
from lvlmscope.capture.seeding import seeded
from lvlmscope.capture.trace_assembly import TracedBatch, assemble_trace
from lvlmscope.errors import ModelInputError, message
from lvlmscope.inputs.context_limits import require_context, require_images
from lvlmscope.inputs.given_answer import tokenize_answer
from lvlmscope.inputs.preparation import ModelInputs, check_inputs, prepare
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import LoadedModel, family_for, find_processor, unwrap
from lvlmscope.runtime.attachment import instrumentation_of, intervene, stack_of
from lvlmscope.runtime.compiled_modules import running_originals
from lvlmscope.runtime.generation_settings import answer_limit, plain_settings
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.runtime.model_lock import model_lock
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.trace import Trace

__all__ = ["trace", "trace_inputs", "trace_prepared"]


@checked
def trace(
    model: Any,
    image: Any = None,
    prompt: Any = None,
    *,
    answer: str | Sequence[int] | torch.Tensor | None = None,
    processor: Any = None,
    interventions: Sequence[Intervention] | Intervention = (),
    gradients: bool = False,
    hidden_states: bool = False,
    keep: Keep = "all",
    precision: Precision = "float32",
    max_memory: int | str | None = None,
    seed: int | None = None,
    family: Family | None = None,
    progress: bool = True,
    **generation: Any,
) -> Trace:
    """Attention rows, probabilities and layout of an answer, as the model wrote it.

    ``model.generate`` runs untouched on its own kernel; then the answer's predicting rows go through the decoder once
    more, as one block over the prompt's cached keys and values, and only their rows are kept. The trace says how well
    the two agree, and nothing is returned when they do not.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        image: PIL image, path, address, base64, bytes, array ...; a list for families that take several. None where
            messages hold the images.
        prompt: Question or instruction; the chat template puts the image in, so that no placeholder is needed; with the
            model's image token the image comes exactly there. One with the template's own marks (`USER:`,
            `<|im_start|>`) is the whole prompt and is used as it stands. A list of messages, as transformers takes it,
            may hold the images, several turns, and last the beginning of the answer, with which the model goes on.
        answer: Text or ids to trace instead of a generated answer (teacher forcing). Text is joined to the prompt as
            the model would go on, with a space where a word begins.
        processor: The model's processor, when it cannot be found from the model's name.
        interventions: Interventions (or one) to switch on for this call, after those already attached.
        gradients: Also keep ``d loss_t / d attention`` of every token, from one backward.
        hidden_states: Also keep the residual stream of the predicting rows.
        keep: "all" keys of a row, or only "image_answer": those of the image and of the answer.
        precision: Of the kept rows and gradients; everything is computed in float32.
        max_memory: Bytes, or a text such as "2GB", that what is kept and the replay's own work may take together
            (see ``estimate``). Where the gradients' graph is too large, one layer's at a time is held; where that
            is too large too, nothing is run.
        seed: Seed of torch's generators for this call; their state is put back afterwards.
        family: Rules of the model's family, found by itself when None.
        progress: Show a bar when it takes longer than a second and a half.
        **generation: Any keyword of ``generate``: max_new_tokens, do_sample, temperature, ...

    Returns:
        The trace.

    Raises:
        ImageInputError: No image, one that cannot be read, or too many.
        PromptError: An empty prompt, one in the image's place or with another model's placeholder, an answer that
            cannot be used, or both longer than the model's context.
        ModelInputError: What the model fails on, or prepared inputs: those are for ``trace_inputs``.
        UnsupportedModelError: A text-only model, or no processor.
        UnsupportedOptionError: A generation option that cannot be replayed.
        MemoryLimitError: More than ``max_memory``, with the size of leaner traces.
        ReplayError: The replay disagrees with the generation.
    """
    if "inputs" in generation:
        got, fix = "inputs=", "call lv.trace_inputs(model, inputs), which gives a list"
        raise ModelInputError(message(got, "an image and a prompt", fix, task="trace a model"))
    options = TraceOptions(
        gradients=gradients, hidden_states=hidden_states, keep=keep, precision=precision, max_memory=max_memory
    )
    family = family or family_for(model)
    family.require_vision(unwrap(model))
    prepared = prepare(image, prompt, find_processor(model, processor), family)
    (made,) = _traced(
        model,
        family,
        prepared,
        options,
        answer=answer,
        interventions=interventions,
        generation=generation,
        seed=seed,
        progress=progress,
    )
    return made


@checked
def trace_inputs(
    model: Any,
    inputs: Any,
    *,
    answer: str | Sequence[int] | torch.Tensor | None = None,
    processor: Any = None,
    interventions: Sequence[Intervention] | Intervention = (),
    gradients: bool = False,
    hidden_states: bool = False,
    keep: Keep = "all",
    precision: Precision = "float32",
    max_memory: int | str | None = None,
    seed: int | None = None,
    family: Family | None = None,
    progress: bool = True,
    **generation: Any,
) -> list[Trace]:
    """Traces of prepared model inputs: always a list, one trace for each sample.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        inputs: What a processor returns: one sample, or a batch padded on the left.
        answer: As for ``trace``; the same for every sample.
        processor: Gives the texts of the tokens; not needed otherwise.
        interventions: As for ``trace``.
        gradients: As for ``trace``.
        hidden_states: As for ``trace``.
        keep: As for ``trace``.
        precision: As for ``trace``.
        max_memory: As for ``trace``, of the whole batch.
        seed: As for ``trace``.
        family: As for ``trace``.
        progress: As for ``trace``.
        **generation: As for ``trace``.

    Returns:
        The traces, in the order of the batch.

    Raises:
        ModelInputError: Inputs that do not fit, or on which the model fails.
        PromptError: An answer that cannot be used, or a sequence longer than the model's context.
        UnsupportedModelError: A text-only model.
        UnsupportedOptionError: A generation option that cannot be replayed.
        MemoryLimitError: More than ``max_memory``, with the size of leaner traces.
        ReplayError: The replay disagrees with the generation.
    """
    options = TraceOptions(
        gradients=gradients, hidden_states=hidden_states, keep=keep, precision=precision, max_memory=max_memory
    )
    family = family or family_for(model)
    family.require_vision(unwrap(model))
    found = model.processor if processor is None and isinstance(model, LoadedModel) else processor
    prepared = ModelInputs(inputs=check_inputs(inputs), processor=found)
    return _traced(
        model,
        family,
        prepared,
        options,
        answer=answer,
        interventions=interventions,
        generation=generation,
        seed=seed,
        progress=progress,
    )


def _traced(
    model: Any,
    family: Family,
    prepared: ModelInputs,
    options: TraceOptions,
    *,
    answer: str | Sequence[int] | torch.Tensor | None,
    interventions: Sequence[Intervention] | Intervention,
    **rest: Any,
) -> list[Trace]:
    """Traces of a batch with further interventions on, and a warning for each answer without words."""
    vocabulary = getattr(family.text_config(unwrap(model)), "vocab_size", None)
    given = None if answer is None else tokenize_answer(answer, prepared, vocabulary)
    stack = stack_of(interventions)
    with intervene(model, *stack, family=family) if stack else nullcontext():
        traces = trace_prepared(model, family, prepared, options, answer=given, **rest)
    if answer is None and prepared.processor is not None:
        _warn_of_silence(traces)
    return traces


def _warn_of_silence(traces: list[Trace]) -> None:
    for each in traces:
        if not each.answer.strip():
            ended = "its first token ends it" if each.num_steps == 1 else "its tokens have no text"
            fix = "ask in other words, or with the question alone"
            warnings.warn(
                f"the answer to {each.prompt[:200]!r} has no words: {ended}; {fix}.", UserWarning, stacklevel=4
            )


def trace_prepared(
    model: Any,
    family: Family,
    prepared: ModelInputs,
    options: TraceOptions,
    *,
    answer: torch.Tensor | None = None,
    generation: dict[str, Any],
    seed: int | None = None,
    progress: bool = False,
) -> list[Trace]:
    """Traces of a batch that is ready, under the interventions that are on.

    Args:
        model: What ``load`` gave, or a bare model.
        family: Its family's rules.
        prepared: The batch.
        options: What to keep.
        answer: Ids given in advance ``[step]``, None to generate.
        generation: Keyword arguments of ``generate``.
        seed: Seed of torch's generators.
        progress: Show a bar.

    Returns:
        One trace per sample.

    Raises:
        LvlmscopeError: As for ``trace``.
    """
    bare = unwrap(model)
    outer = model.model if isinstance(model, LoadedModel) else model
    with model_lock(bare), running_originals(outer), seeded(seed):
        instrumentation = instrumentation_of(bare) or Instrumentation(bare, family)
        instrumentation.require_kernels()
        refuse_chance(bare)
        refuse_streams(bare, family, hidden_states=options.hidden_states)
        instrumentation.restart()
        require_images(bare, family, prepared.inputs)
        prompt = prepared.inputs["input_ids"].shape[1]
        new_tokens = generation.get("max_new_tokens") or 1 if answer is None else len(answer)
        require_context(bare, family, prompt, new_tokens)
        layerwise = False
        if options.max_memory is not None:
            steps = len(answer) if answer is not None else answer_limit(family.core(bare), prompt, generation)
            layerwise = layerwise_needed(options, bare, family, prepared.inputs, steps)
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
            keeping=choose_keeping(bare, family, made, keep=options.keep, precision=options.precision),
            layerwise=layerwise,
        )
        if answer is not None:
            instrumentation.count_replay()
        effects = tuple(p.report() for p in instrumentation.active)
    name = model.name if isinstance(model, LoadedModel) else str(getattr(bare, "name_or_path", "") or "")
    settings = made.settings | {"seed": seed}
    origin = describe_origin(bare, name=name, settings=settings, interventions=switched, replay=replay)
    batch = TracedBatch(model=bare, family=family, prepared=prepared, generation=made, replay=replay)
    return [assemble_trace(batch, n, provenance=origin, effects=effects) for n in range(made.ids.shape[0])]


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
