"""``trace``: what a model attended to while it wrote an answer about an image."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, overload

import torch

from lvlmscope.capture.generate_keywords import refuse_unknown_keywords
from lvlmscope.capture.options import Keep, KeepOrReduce, Precision, TraceOptions
from lvlmscope.capture.signal_reduction import reducing
from lvlmscope.capture.traced_batch import ReplayedBatch, replay_prepared
from lvlmscope.errors import ModelInputError, message
from lvlmscope.inputs.given_answer import tokenize_answer
from lvlmscope.inputs.preparation import ModelInputs, check_inputs, prepare
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import LoadedModel, family_for, find_processor, unwrap, with_processor
from lvlmscope.runtime.attachment import intervene, stack_of
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.signal_trace import SignalTrace
from lvlmscope.traces.trace import Trace

__all__ = ["trace", "trace_inputs"]


@overload
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
) -> Trace: ...


@overload
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
    keep: Literal["signals"],
    signals: Sequence[str] | None = None,
    precision: Precision = "float32",
    max_memory: int | str | None = None,
    seed: int | None = None,
    family: Family | None = None,
    progress: bool = True,
    **generation: Any,
) -> SignalTrace: ...


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
    keep: KeepOrReduce = "all",
    signals: Sequence[str] | None = None,
    precision: Precision = "float32",
    max_memory: int | str | None = None,
    seed: int | None = None,
    family: Family | None = None,
    progress: bool = True,
    **generation: Any,
) -> Trace | SignalTrace:
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
        keep: "all" keys of a row, or only "image_answer": those of the image and of the answer. "signals" keeps no rows
            at all: they are reduced to signals on the model's device, one value for each layer and step.
        signals: Names that `lvlmscope signals` lists, with `keep="signals"`; gradients and hidden states are made where
            one needs them. None for all that `gradients` and `hidden_states` allow.
        precision: Of the kept rows and gradients; everything is computed in float32.
        max_memory: Bytes, or a text such as "2GB", that what is kept and the replay's own work may take together
            (see ``estimate``). Where the gradients' graph is too large, one layer's at a time is held; where rows are
            reduced to signals that read a step by itself (``lvlmscope signals`` says so), some steps at a time; where
            that is too large too, nothing is run.
        seed: Seed of torch's generators for this call; their state is put back afterwards. A warning where nothing was
            drawn.
        family: Rules of the model's family, found by itself when None.
        progress: Show a bar when it takes longer than a second and a half.
        **generation: Any keyword of ``generate``: max_new_tokens, do_sample, temperature, ... With num_beams the kept
            answer is traced, with the model's own log-probabilities of its tokens; the search's scores are not kept.

    Returns:
        The trace, or with `keep="signals"` its words and signals.

    Raises:
        EvaluationError: An unknown signal, or one that cannot be read here.
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
    kept: dict[str, Any] = {"precision": precision, "max_memory": max_memory}
    options = _options(keep, signals, gradients=gradients, hidden_states=hidden_states, **kept)
    family = family_for(model, family)
    family.require_vision(unwrap(model))
    refuse_unknown_keywords(trace, unwrap(model), family, generation)
    prepared = prepare(image, prompt, find_processor(model, processor), family)
    rest: dict[str, Any] = {"answer": answer, "interventions": interventions, "generation": generation}
    rest |= {"seed": seed, "progress": progress}
    batch = _replayed(model, family, prepared, options, **rest)
    (made,) = batch.signals() if keep == "signals" else batch.traces()
    if answer is None:
        _warn_of_silence([made], prepared)
    return made


@overload
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
) -> list[Trace]: ...


@overload
def trace_inputs(
    model: Any,
    inputs: Any,
    *,
    answer: str | Sequence[int] | torch.Tensor | None = None,
    processor: Any = None,
    interventions: Sequence[Intervention] | Intervention = (),
    gradients: bool = False,
    hidden_states: bool = False,
    keep: Literal["signals"],
    signals: Sequence[str] | None = None,
    precision: Precision = "float32",
    max_memory: int | str | None = None,
    seed: int | None = None,
    family: Family | None = None,
    progress: bool = True,
    **generation: Any,
) -> list[SignalTrace]: ...


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
    keep: KeepOrReduce = "all",
    signals: Sequence[str] | None = None,
    precision: Precision = "float32",
    max_memory: int | str | None = None,
    seed: int | None = None,
    family: Family | None = None,
    progress: bool = True,
    **generation: Any,
) -> list[Trace] | list[SignalTrace]:
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
        signals: As for ``trace``.
        precision: As for ``trace``.
        max_memory: As for ``trace``, of the whole batch.
        seed: As for ``trace``.
        family: As for ``trace``.
        progress: As for ``trace``.
        **generation: As for ``trace``.

    Returns:
        The traces, or with `keep="signals"` their words and signals, in the order of the batch.

    Raises:
        EvaluationError: As for ``trace``.
        ModelInputError: Inputs that do not fit, or on which the model fails.
        PromptError: An answer that cannot be used, or a sequence longer than the model's context.
        UnsupportedModelError: A text-only model.
        UnsupportedOptionError: A generation option that cannot be replayed.
        MemoryLimitError: More than ``max_memory``, with the size of leaner traces.
        ReplayError: The replay disagrees with the generation.
    """
    kept: dict[str, Any] = {"precision": precision, "max_memory": max_memory}
    options = _options(keep, signals, gradients=gradients, hidden_states=hidden_states, **kept)
    family = family_for(model, family)
    family.require_vision(unwrap(model))
    refuse_unknown_keywords(trace_inputs, unwrap(model), family, generation)
    found = model.processor if processor is None and isinstance(model, LoadedModel) else processor
    prepared = ModelInputs(inputs=check_inputs(inputs), processor=found)
    rest: dict[str, Any] = {"answer": answer, "interventions": interventions, "generation": generation}
    batch = _replayed(model, family, prepared, options, **rest, seed=seed, progress=progress)
    made = batch.signals() if keep == "signals" else batch.traces()
    if answer is None:
        _warn_of_silence(made, prepared)
    return made


def _options(keep: KeepOrReduce, signals: Sequence[str] | None, **kept: Any) -> TraceOptions:
    """What is kept: rows, or signals."""
    if keep == "signals":
        return reducing(signals, **kept)
    if signals is not None:
        got = f"signals= and keep={keep!r}"
        raise ModelInputError(message(got, 'keep="signals"', "pass both", task="trace a model"))
    return TraceOptions(keep=keep, **kept)


def _replayed(
    model: Any,
    family: Family,
    prepared: ModelInputs,
    options: TraceOptions,
    *,
    answer: str | Sequence[int] | torch.Tensor | None,
    interventions: Sequence[Intervention] | Intervention,
    **rest: Any,
) -> ReplayedBatch:
    """The batch with further interventions on."""
    vocabulary = getattr(family.text_config(unwrap(model)), "vocab_size", None)
    given = None if answer is None else tokenize_answer(answer, prepared, vocabulary)
    stack = stack_of(interventions)
    known = with_processor(model, prepared.processor, family)
    with intervene(known, *stack, family=family) if stack else nullcontext():
        return replay_prepared(model, family, prepared, options, answer=given, **rest)


def _warn_of_silence(traces: Sequence[Trace | SignalTrace], prepared: ModelInputs) -> None:
    """A warning for each generated answer without words; without a processor tokens have no text."""
    for each in traces if prepared.processor is not None else ():
        if not each.answer.strip():
            ended = "its first token ends it" if each.num_steps == 1 else "its tokens have no text"
            fix = "ask in other words, or with the question alone"
            warnings.warn(
                f"the answer to {each.prompt[:200]!r} has no words: {ended}; {fix}.", UserWarning, stacklevel=4
            )
