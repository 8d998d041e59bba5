"""The words of an answer, and the steps that wrote them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.attention.option_checks import whole_number
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.word_boundaries import word_spans
from lvlmscope.traces.word_search import find_words

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["Word", "find_word", "marked_words", "steps_of", "words_in", "words_of"]

_LISTED: Final = 12
_FIRST_BYTES: Final = 3  # of a character of four bytes: what can stand in tokens before the one that completes it


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

    Words end where Unicode's rules say, in scripts without spaces (Chinese, Japanese, Thai) where ICU's dictionary
    says; parts joined by a hyphen are one word.

    Returns:
        Words with their steps.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> [(word.text, word.steps) for word in words_of(planted_trace(steps=2))]
        [('word0', (0,)), ('word1', (1,))]
    """
    return words_in(require_trace(trace).answer_tokens)


def words_in(pieces: Sequence[str]) -> tuple[Word, ...]:
    """As `words_of`, from the texts of an answer's tokens.

    Args:
        pieces: Text of each token; joined they are the answer.

    Returns:
        Words with their steps.
    """
    text = "".join(pieces)
    spans = word_spans(text) or [match.span() for match in re.finditer(r"\S+", text)]
    steps = steps_of(pieces, spans)
    return tuple(Word(text=text[a:b], start=a, end=b, steps=n) for (a, b), n in zip(spans, steps, strict=True))


def steps_of(pieces: Sequence[str], spans: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The steps whose tokens wrote any of each stretch of an answer.

    A character of several byte tokens has its text at the last of them; the others, which have none, count as well.
    Special tokens have no text either: one just before such a character is taken for one of its bytes.

    Args:
        pieces: Text of each token; joined they are the answer.
        spans: First and one past the last character of each stretch, in order of their beginning.

    Returns:
        Steps of each stretch, ascending.

    Examples:
        >>> steps_of(["A", " ", "", "", "猫", ""], [(0, 1), (2, 3)])
        [(0,), (2, 3, 4)]
    """
    written = _written(pieces)
    found, first = [], 0
    for start, end in spans:
        while first < len(written) and written[first].end <= start:
            first += 1
        steps: list[int] = []
        for piece in written[first:]:
            if piece.start >= end:
                break
            part = pieces[piece.step][max(start - piece.start, 0) : end - piece.start]
            steps += [piece.step] if part.isascii() else [*piece.first_bytes, piece.step]
        found.append(tuple(steps))
    return found


@dataclass(frozen=True, slots=True)
class _Written:
    """A token with text: its step, the steps of its first character's first bytes, and where it stands."""

    step: int
    first_bytes: range
    start: int
    end: int


def _written(pieces: Sequence[str]) -> list[_Written]:
    found: list[_Written] = []
    place, silent = 0, 0
    for step, piece in enumerate(pieces):
        wide = sum(not character.isascii() for character in piece)
        first_bytes = range(step - min(silent, _FIRST_BYTES * wide), step)
        if piece:
            found.append(_Written(step, first_bytes, place, place + len(piece)))
        silent = 0 if piece else silent + 1
        place += len(piece)
    return found


def find_word(trace: "Trace", wanted: "str | int | np.integer | Word") -> Word:
    """A word by its text (one or several words, the first place where they stand), or a step by its number.

    Args:
        wanted: "boat", "traffic light"; a step, negative numbers count from the end; or a `Word`.

    Returns:
        The word; a step's text is its token's.

    Raises:
        ModelInputError: The answer has no such word, or the trace no such step.
    """
    trace = require_trace(trace)
    if isinstance(wanted, Word):
        return wanted
    if (step := whole_number(wanted)) is not None:
        return _step(trace, step)
    if not isinstance(wanted, str):
        got, expected = f"{type(wanted).__name__} {wanted!r}"[:80], "a word's text, a step, or a Word"
        raise ModelInputError(message(got, expected, "give one of these", task="show a word"))
    words = words_of(trace)
    places = find_words("".join(trace.answer_tokens), wanted)
    if not places:
        listed = ", ".join(dict.fromkeys(word.text for word in words[:_LISTED])) or "none: the answer is empty"
        fix = "choose one of the answer's words, or a step number"
        expected = listed + (", ..." if len(words) > _LISTED else "")
        raise ModelInputError(message(repr(wanted), expected, fix, task="show a word"))
    start, end = places[0]
    (steps,) = steps_of(trace.answer_tokens, [(start, end)])
    return Word(text="".join(trace.answer_tokens)[start:end], start=start, end=end, steps=steps)


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
    given: Any = marks
    if not isinstance(given, Iterable):
        got = f"{type(given).__name__} {given!r}"[:80]
        raise ModelInputError(
            message(got, "a list of words, steps or mentions", "put it into a list", task="mark words")
        )
    for mark in [given] if isinstance(given, str) else given:
        if isinstance(mark, str):
            places = find_words("".join(trace.answer_tokens), find_word(trace, mark).text)
            chosen |= {n for n, word in enumerate(words) if any(word.start < b and word.end > a for a, b in places)}
            continue
        if (number := whole_number(mark)) is not None:
            step = _step(trace, number).steps[0]
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
