"""From words of an answer to the steps that wrote them, and back."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from lvlmscope.errors import ModelInputError, message
from lvlmscope.record import Trace

__all__ = ["steps_of", "steps_of_span"]


def steps_of_span(trace: Trace, start: int, end: int) -> tuple[int, ...]:
    """The steps whose tokens hold any character of `trace.answer[start:end]`.

    Args:
        trace: The trace.
        start: First character.
        end: One past the last character.

    Returns:
        Ascending steps; empty for an empty span.
    """
    ends = list(accumulate(map(len, trace.answer_tokens)))
    starts = [0, *ends[:-1]]
    return tuple(step for step, (a, b) in enumerate(zip(starts, ends, strict=True)) if a < end and start < b)


def steps_of(trace: Trace, word: str | int | Iterable[int]) -> tuple[int, ...]:
    """The steps meant by a word, a step, or steps.

    Args:
        trace: The trace.
        word: Text that the answer holds (its first occurrence as whole words, else as text; any letter case), a step
            (negative ones count from the end), or several steps.

    Returns:
        Ascending steps.

    Raises:
        ModelInputError: The answer does not hold the text, or has no such step.
    """
    if isinstance(word, str):
        start = _find(trace.answer, word)
        return steps_of_span(trace, start, start + len(word.strip()))
    asked: Sequence[int] = [word] if isinstance(word, int) else list(word)
    if not asked or any(not -trace.num_steps <= step < trace.num_steps for step in asked):
        received, possible = f"steps {list(asked)}", f"{-trace.num_steps} to {trace.num_steps - 1}"
        raise ModelInputError(message("find words of the answer", received, possible, "choose steps of the trace"))
    return tuple(sorted({step % trace.num_steps for step in asked}))


def _find(answer: str, word: str) -> int:
    wanted, text = word.strip().lower(), answer.lower()
    places = [n for n in range(len(text)) if wanted and text.startswith(wanted, n)]
    if not places:
        raise ModelInputError(message("find words of the answer", repr(word), repr(answer), "choose one of its words"))

    def bounded(place: int) -> bool:
        before, after = text[place - 1 : place], text[place + len(wanted) :][:1]
        return not before.isalnum() and not after.isalnum()

    return next(filter(bounded, places), places[0])
