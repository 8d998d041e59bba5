"""The words of an answer, and the steps that wrote them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.traces.requirements import require_trace

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["Word", "find_word", "marked_words", "words_of"]

# Scripts without spaces: each character by itself; elsewhere letters and digits, joined by hyphens and apostrophes
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])\w)+(?:[-'’]\w+)*")
_LISTED: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A stretch of the answer.

    Attributes:
        text: The word.
        start: Its first character in `Trace.answer`.
        end: One past its last.
        steps: The steps whose tokens wrote any of it.
    """

    text: str
    start: int
    end: int
    steps: tuple[int, ...]


@task("read the words")
def words_of(trace: "Trace") -> tuple[Word, ...]:
    """The words of the answer, in order; punctuation belongs to none, unless there is nothing else.

    Args:
        trace: A trace.

    Returns:
        Words with their steps.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> [(word.text, word.steps) for word in words_of(planted_trace(steps=2))]
        [('word0', (0,)), ('word1', (1,))]
    """
    text = "".join(require_trace(trace).answer_tokens)
    found = list(_WORD.finditer(text)) or list(re.finditer(r"\S+", text))
    ends: list[int] = []
    for piece in trace.answer_tokens:
        ends.append((ends[-1] if ends else 0) + len(piece))
    words, first = [], 0
    for match in found:
        while ends[first] <= match.start():
            first += 1
        last = first
        while ends[last] < match.end():
            last += 1
        steps = tuple(n for n in range(first, last + 1) if trace.answer_tokens[n])
        words.append(Word(text=match[0], start=match.start(), end=match.end(), steps=steps))
    return tuple(words)


def find_word(trace: "Trace", asked: "str | int | np.integer | Word") -> Word:
    """A word by its text (one or several words, the first place where they stand), or a step by its number.

    Args:
        trace: A trace.
        asked: "boat", "traffic light"; a step, negative numbers count from the end; or a `Word`.

    Returns:
        The word; a step's text is its token's.

    Raises:
        ModelInputError: The answer has no such word, or the trace no such step.
    """
    if isinstance(asked, Word):
        return asked
    if isinstance(asked, int | np.integer):
        return _step(trace, int(asked))
    words = words_of(trace)
    match = next(_places(asked, trace), None)
    if match is None:
        listed = ", ".join(dict.fromkeys(word.text for word in words[:_LISTED])) or "none: the answer is empty"
        fix = "choose one of the answer's words, or a step number"
        expected = listed + (", ..." if len(words) > _LISTED else "")
        raise ModelInputError(message(repr(asked), expected, fix, task="show a word"))
    inside = [word for word in words if word.start < match.end() and word.end > match.start()]
    steps = tuple(sorted({step for word in inside for step in word.steps}))
    return Word(text=match[0], start=match.start(), end=match.end(), steps=steps)


def _places(asked: str, trace: "Trace") -> Iterator[re.Match[str]]:
    """Where a text stands in the answer as a word or several, in any letter case."""
    if asked.strip():
        yield from re.finditer(rf"(?<!\w){re.escape(asked.strip())}(?!\w)", "".join(trace.answer_tokens), re.IGNORECASE)


def _step(trace: "Trace", step: int) -> Word:
    if not -trace.num_steps <= step < trace.num_steps:
        expected = f"{-trace.num_steps} to {trace.num_steps - 1}" if trace.num_steps else "none: the answer is empty"
        raise ModelInputError(message(f"step {step}", expected, "choose another, or a word's text", task="show a step"))
    step %= trace.num_steps
    start = sum(map(len, trace.answer_tokens[:step]))
    piece = trace.answer_tokens[step]
    return Word(text=piece.strip() or f"step {step}", start=start, end=start + len(piece), steps=(step,))


def marked_words(trace: "Trace", words: tuple[Word, ...], marks: Iterable[Any]) -> set[int]:
    """Which words are meant.

    Args:
        trace: Where the words come from.
        words: What `words_of` gave.
        marks: Words as text, each wherever it stands; steps; pairs (start, end) of characters; or objects with `start`
            and `end`, such as CHAIR's mentions.

    Returns:
        Indices into `words`.

    Raises:
        ModelInputError: A mark that is none of these, or that is not in the answer.
    """
    chosen: set[int] = set()
    for mark in [marks] if isinstance(marks, str) else marks:
        if isinstance(mark, str):
            same = find_word(trace, mark).text.lower()
            stretches = [(m.start(), m.end()) for m in _places(same, trace)]
            chosen |= {n for n, word in enumerate(words) if any(word.start < b and word.end > a for a, b in stretches)}
            continue
        if isinstance(mark, int | np.integer):
            step = _step(trace, int(mark)).steps[0]
            chosen |= {n for n, word in enumerate(words) if step in word.steps}
            continue
        start, end = _span(mark)
        if not 0 <= start < end <= len(trace.answer):
            expected = f"stretches of characters within 0 to {len(trace.answer)}"
            got = f"characters {start} to {end}"
            raise ModelInputError(message(got, expected, "take the spans from this answer", task="mark words"))
        chosen |= {n for n, word in enumerate(words) if word.start < end and word.end > start}
    return chosen


def _span(mark: Any) -> tuple[int, int]:
    if isinstance(mark, tuple) and len(mark) == 2:
        return int(mark[0]), int(mark[1])
    if hasattr(mark, "start") and hasattr(mark, "end"):
        return int(mark.start), int(mark.end)
    expected = "a word, a step, a pair (start, end) of characters, or a mention"
    raise ModelInputError(message(repr(mark), expected, "give one of these", task="mark words"))
