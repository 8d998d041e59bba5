"""``trace_many``: traces of many examples in order, in batches, with failures recorded rather than fatal."""

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lvlmscope.capture.batch_fallback import attempted, done_or_failed, without_frames
from lvlmscope.capture.generate_keywords import refuse_unknown_keywords
from lvlmscope.capture.options import Keep, Precision, TraceOptions
from lvlmscope.capture.traced_batch import replay_prepared
from lvlmscope.errors import (
    InterventionError,
    ModelInputError,
    PromptError,
    UnsupportedModelError,
    UnsupportedOptionError,
    message,
)
from lvlmscope.inputs.given_answer import tokenize_answer
from lvlmscope.inputs.preparation import ModelInputs, join, prepare
from lvlmscope.inputs.prompt_text import is_messages
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.progress import bar as progress_bar
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import family_for, find_processor, unwrap, with_processor
from lvlmscope.runtime.attachment import stack_of, switch_on
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.requirements import FailedExample
from lvlmscope.traces.trace import Trace

__all__ = ["FailedExample", "trace_many"]

# The call itself is wrong: raised at the first example, when no other would fare better
_OF_THE_CALL = (UnsupportedModelError, UnsupportedOptionError, InterventionError)


@checked
def trace_many(
    model: Any,
    examples: Iterable[Any],
    *,
    batch_size: int = 1,
    prompt: Any = None,
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
) -> Iterator[Trace | FailedExample]:
    """Traces in the order of the examples; whatever one raises is yielded as its record, and the rest go on.

    Nothing is held but the current batch: write each trace away, or compute its signals, as it comes. With a seed and
    sampling, each batch is seeded by the seed plus the index of its first example. Interventions are on only while a
    batch is traced: between two results the model is as before. Errors of the call (a model, option or intervention
    that cannot be used) are raised until a first trace has been made; later ones are an example's own.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        examples: Images, pairs (image, prompt), or mappings with "image", "prompt" and perhaps "answer"; any
            iterable, read as needed. A prompt may be a list of messages; where it holds the image, "image" may be left
            out.
        batch_size: Examples that are generated together, padded on the left. Those with an answer of their own go
            one by one.
        prompt: The prompt of examples that have none: text or a list of messages.
        processor: As for ``trace``.
        interventions: As for ``trace``.
        gradients: As for ``trace``.
        hidden_states: As for ``trace``.
        keep: As for ``trace``.
        precision: As for ``trace``.
        max_memory: As for ``trace``, for a whole batch.
        seed: Seed of torch's generators.
        family: As for ``trace``.
        progress: Show a bar.
        **generation: Any keyword of ``generate``.

    Returns:
        An iterator of a ``Trace`` or a ``FailedExample`` per example; nothing runs before it is asked for the first.

    Raises:
        ModelInputError: A batch size below 1, or examples that are one text or one image.
        PromptError: An example without a prompt, and none for all.
        UnsupportedModelError: A model that cannot be traced.
        UnsupportedOptionError: An option that cannot be traced.
        InterventionError: An intervention that cannot be switched on.
    """
    if batch_size < 1:
        fix = "pass 1 or more"
        raise ModelInputError(message(f"batch_size={batch_size}", "at least 1", fix, task="trace many examples"))
    _check_examples(examples, prompt)
    family = family_for(model, family)
    family.require_vision(unwrap(model))
    refuse_unknown_keywords(trace_many, unwrap(model), family, generation)
    stack = stack_of(interventions)
    trace_options = TraceOptions(
        gradients=gradients, hidden_states=hidden_states, keep=keep, precision=precision, max_memory=max_memory
    )
    runner = _Runner(model, family, find_processor(model, processor), trace_options, generation, seed, prompt)
    return _traced(runner, examples, batch_size, stack, progress=progress)


def _traced(
    runner: "_Runner",
    examples: Iterable[Any],
    batch_size: int,
    interventions: tuple[Intervention, ...],
    *,
    progress: bool,
) -> Iterator[Trace | FailedExample]:
    total = len(examples) if isinstance(examples, Sized) else None
    numbered = enumerate(examples)
    with progress_bar(total=total, desc="trace", unit="example", shown=progress) as bar:
        while group := list(islice(numbered, batch_size)):
            for result in runner.run(group, interventions):
                yield result
                bar.update()
    runner.warn_of_no_effect()


def _check_examples(examples: Any, prompt: Any) -> None:
    """What is wrong with the call and not with one example."""
    if isinstance(examples, str | bytes | Mapping) or not isinstance(examples, Iterable):
        got, expected = f"{type(examples).__name__} {examples!r}"[:80], "a list of examples, or another iterable"
        raise ModelInputError(message(got, expected, "put a single example into a list", task="trace many examples"))
    if isinstance(examples, Sequence):
        for number, example in enumerate(examples):
            _require_prompt(number, example, prompt)


def _require_prompt(number: int, example: Any, prompt: Any) -> None:
    paired = isinstance(example, tuple) and len(example) == 2
    own = example.get("prompt") if isinstance(example, Mapping) else example[1] if paired else None
    if own is None and prompt is None:
        got, expected = f"example {number} without a prompt", "prompt= for all, or pairs (image, prompt)"
        raise PromptError(message(got, expected, "pass prompt=", task="trace many examples"))


@dataclass(slots=True)
class _Runner:
    model: Any
    family: Family
    processor: Any
    trace_options: TraceOptions
    generation: dict[str, Any]
    seed: int | None
    prompt: Any
    succeeded: bool = False
    without_effect: dict[str, str] = field(default_factory=dict)
    with_effect: set[str] = field(default_factory=set)

    def run(self, group: list[tuple[int, Any]], interventions: tuple[Intervention, ...]) -> list[Trace | FailedExample]:
        """One batch with its interventions on."""
        if not interventions:
            return self._run(group)
        here = threading.get_ident()
        known = with_processor(self.model, self.processor, self.family)
        handle = switch_on(known, interventions, family=self.family, thread=here, compiled=False)
        try:
            results = self._run(group)
        finally:
            handle.withdraw()
        self._note_effects(results)
        return results

    def warn_of_no_effect(self) -> None:
        """A warning for each intervention that changed nothing in any example."""
        for name, reason in self.without_effect.items():
            if name not in self.with_effect:
                warnings.warn(f"{name} changed nothing in any example; in the last one: {reason}.", stacklevel=2)

    def _note_effects(self, results: list[Trace | FailedExample]) -> None:
        for effect in (effect for result in results if isinstance(result, Trace) for effect in result.effects):
            if reason := effect.get("no_effect_reason"):
                self.without_effect[effect["name"]] = reason
            else:
                self.with_effect.add(effect["name"])

    def _run(self, group: list[tuple[int, Any]]) -> list[Trace | FailedExample]:
        """What can be prepared is traced together; when that fails, one by one."""
        results: dict[int, Trace | FailedExample] = {}
        ready: list[tuple[int, Any, ModelInputs]] = []
        for index, example in group:
            if index == 0:
                _require_prompt(index, example, self.prompt)
            found = attempted(self._prepare, index, example)
            if isinstance(found, ModelInputs):
                ready.append((index, example, found))
            else:
                results[index] = found if isinstance(found, Trace) else self._failed(index, example, found)
        results |= self._together(ready)
        return [results[index] for index, _ in group]

    def _prepare(self, index: int, example: Any) -> ModelInputs | Trace:
        """The example's inputs, or its trace where it has an answer of its own."""
        _require_prompt(index, example, self.prompt)
        image, prompt, answer = _read(example, self.prompt)
        prepared = prepare(image, prompt, self.processor, self.family)
        return prepared if answer is None else self._trace([prepared], index, answer)[0]

    def _failed(self, index: int, example: Any, error: Exception) -> FailedExample:
        """The example's record; an error of the call itself is raised while no example has been traced."""
        if isinstance(error, _OF_THE_CALL) and not self.succeeded:
            raise error
        return FailedExample(index=index, example=example, error=without_frames(error))

    def _together(self, ready: list[tuple[int, Any, ModelInputs]]) -> dict[int, Trace | FailedExample]:
        def run(some: Sequence[tuple[int, Any, ModelInputs]]) -> list[Trace]:
            return self._trace([prepared for *_, prepared in some], some[0][0])

        pairs = zip(ready, done_or_failed(ready, run), strict=True)
        return {
            index: self._failed(index, example, each) if isinstance(each, Exception) else each.result
            for (index, example, _), each in pairs
        }

    def _trace(self, samples: list[ModelInputs], index: int, answer: Any = None) -> list[Trace]:
        batch = join(samples, self.family)
        vocabulary = getattr(self.family.text_config(unwrap(self.model)), "vocab_size", None)
        given = None if answer is None else tokenize_answer(answer, batch, vocabulary)
        seed = None if self.seed is None else self.seed + index
        options = self.generation if given is None else {}
        given_options: dict[str, Any] = {"answer": given, "generation": options, "seed": seed}
        traces = replay_prepared(self.model, self.family, batch, self.trace_options, **given_options).traces()
        self.succeeded = True
        return traces


def _read(example: Any, prompt: Any) -> tuple[Any, Any, Any]:
    """Image, prompt and answer of an example in one of the accepted forms."""
    if isinstance(example, Mapping):
        if "image" not in example and not is_messages(example.get("prompt")):
            got, expected = f"keys {sorted(map(str, example))}", "'image', 'prompt' and perhaps 'answer'"
            raise ModelInputError(message(got, expected, "name the image 'image'", task="read an example"))
        return example.get("image"), example.get("prompt", prompt), example.get("answer")
    if isinstance(example, tuple) and len(example) == 2:
        return example[0], example[1], None
    return example, prompt, None
