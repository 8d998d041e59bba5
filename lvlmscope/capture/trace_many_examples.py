"""``trace_many``: traces of many examples in order, in batches, with failures recorded rather than fatal."""

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lvlmscope.capture.options import Keep, Precision, TraceOptions, check_choices
from lvlmscope.capture.trace_one import trace_prepared
from lvlmscope.errors import (
    InterventionError,
    ModelInputError,
    PromptError,
    UnsupportedModelError,
    UnsupportedOptionError,
    message,
)
from lvlmscope.inputs.preparation import ModelInputs, join, prepare, tokenize_answer
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import family_for, find_processor, unwrap
from lvlmscope.progress import bar as progress_bar
from lvlmscope.runtime.attachment import intervene, stack_of
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.requirements import FailedExample
from lvlmscope.traces.trace import Trace

__all__ = ["FailedExample", "trace_many"]

# The call itself is wrong: no other example would fare better
_FATAL = (UnsupportedModelError, UnsupportedOptionError, InterventionError)
# What an image, a processor, a model or a full memory may raise for one example
_OF_ONE = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, MemoryError)


def trace_many(
    model: Any,
    examples: Iterable[Any],
    *,
    batch_size: int = 1,
    prompt: str | None = None,
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
    """Traces in the order of the examples; one that fails is yielded as a record, and the rest go on.

    Nothing is held but the current batch: write each trace away, or compute its signals, as it comes. With a seed and
    sampling, each batch is seeded by the seed plus the index of its first example.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        examples: Images, pairs (image, prompt), or mappings with "image", "prompt" and perhaps "answer"; any
            iterable, read as needed.
        batch_size: Examples that are generated together, padded on the left. Those with an answer of their own go
            one by one.
        prompt: The prompt of examples that have none.
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
    check_choices(keep=keep, precision=precision)
    _check_examples(examples, prompt)
    family = family or family_for(model)
    family.require_vision(unwrap(model))
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
    switch = intervene(runner.model, *interventions, family=runner.family) if interventions else nullcontext()
    with switch, progress_bar(total=total, desc="trace", unit="example", shown=progress) as bar:
        while group := list(islice(numbered, batch_size)):
            for result in runner.run(group):
                yield result
                bar.update()


def _check_examples(examples: Any, prompt: str | None) -> None:
    """What is wrong with the call and not with one example."""
    if isinstance(examples, str | bytes | Mapping) or not isinstance(examples, Iterable):
        got, expected = f"{type(examples).__name__} {examples!r}"[:80], "a list of examples, or another iterable"
        raise ModelInputError(message(got, expected, "put a single example into a list", task="trace many examples"))
    if isinstance(examples, Sequence):
        for number, example in enumerate(examples):
            _require_prompt(number, example, prompt)


def _require_prompt(number: int, example: Any, prompt: str | None) -> None:
    paired = isinstance(example, tuple) and len(example) == 2
    own = example.get("prompt") if isinstance(example, Mapping) else example[1] if paired else None
    if own is None and prompt is None:
        got, expected = f"example {number} without a prompt", "prompt= for all, or pairs (image, prompt)"
        raise PromptError(message(got, expected, "pass prompt=", task="trace many examples"))


@dataclass(frozen=True, slots=True)
class _Runner:
    model: Any
    family: Family
    processor: Any
    trace_options: TraceOptions
    generation: dict[str, Any]
    seed: int | None
    prompt: str | None

    def run(self, group: list[tuple[int, Any]]) -> list[Trace | FailedExample]:
        """One batch: what can be prepared is traced together; when that fails, one by one."""
        results: dict[int, Trace | FailedExample] = {}
        ready: list[tuple[int, Any, ModelInputs]] = []
        for index, example in group:
            _require_prompt(index, example, self.prompt)
            try:
                image, prompt, answer = _read(example, self.prompt)
                prepared = prepare(image, prompt, self.processor, self.family)
                if answer is None:
                    ready.append((index, example, prepared))
                else:
                    results[index] = self._trace([prepared], index, answer)[0]
            except _FATAL:
                raise
            except _OF_ONE as error:
                results[index] = FailedExample(index=index, example=example, error=_let_go(error))
        results |= self._together(ready)
        return [results[index] for index, _ in group]

    def _together(self, ready: list[tuple[int, Any, ModelInputs]]) -> dict[int, Trace | FailedExample]:
        if not ready:
            return {}
        try:
            traces = self._trace([prepared for *_, prepared in ready], ready[0][0])
        except _FATAL:
            raise
        except _OF_ONE as error:
            failure = _let_go(error)
        else:
            return {index: found for (index, *_), found in zip(ready, traces, strict=True)}
        if len(ready) == 1:
            index, example, _ = ready[0]
            return {index: FailedExample(index=index, example=example, error=failure)}
        alone = [self._together([one]) for one in ready]
        return {index: result for found in alone for index, result in found.items()}

    def _trace(self, samples: list[ModelInputs], index: int, answer: Any = None) -> list[Trace]:
        batch = join(samples, self.family)
        given = None if answer is None else tokenize_answer(answer, self.processor)
        seed = None if self.seed is None else self.seed + index
        options = self.generation if given is None else {}
        return trace_prepared(
            self.model, self.family, batch, self.trace_options, answer=given, generation=options, seed=seed
        )


def _let_go(error: Exception) -> Exception:
    """The error without its frames' variables: they would hold the failed batch in memory as long as the record."""
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
    return error


def _read(example: Any, prompt: str | None) -> tuple[Any, Any, Any]:
    """Image, prompt and answer of an example in one of the accepted forms."""
    if isinstance(example, Mapping):
        if "image" not in example:
            got, expected = f"keys {sorted(map(str, example))}", "'image', 'prompt' and perhaps 'answer'"
            raise ModelInputError(message(got, expected, "name the image 'image'", task="read an example"))
        return example["image"], example.get("prompt", prompt), example.get("answer")
    if isinstance(example, tuple) and len(example) == 2:
        return example[0], example[1], None
    return example, prompt, None
