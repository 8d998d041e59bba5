"""Where a model thinks and where it answers, from the markers in its answer."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, cast

from lvlmscope.errors import ModelInputError, message
from lvlmscope.traces.answer_spans import Markers, Span
from lvlmscope.traces.words import steps_of

__all__ = ["require_markers", "spans_in"]


def require_markers(given: Any) -> Markers:
    """The two texts around what a model thinks.

    Raises:
        ModelInputError: No pair of texts, an empty one, or two that are the same.
    """
    pair = tuple(given) if isinstance(given, list | tuple) else ()
    if len(pair) == 2 and all(isinstance(one, str) and one.strip() for one in pair) and pair[0] != pair[1]:
        return cast("Markers", pair)
    got, expected = f"markers={given!r}"[:80], "two texts that differ, such as ('<think>', '</think>')"
    raise ModelInputError(message(got, expected, "pass the opening and the closing one"))


def spans_in(pieces: Sequence[str], markers: Markers, *, opened: bool) -> tuple[Span, ...]:
    """The span of each token of an answer.

    A token that wrote any of a marker is `"marker"`. What stands between an opening marker and the next closing one is
    `"thinking"`, to the end of the answer where none closes it; all else is `"answer"`. A second opening marker inside
    of what is thought is part of it.

    Args:
        pieces: Text of each token, special tokens' too; joined they are the answer.
        markers: The opening and the closing one.
        opened: Whether the prompt ends with the opening marker, so that the answer begins with what is thought.

    Returns:
        One name for each token.

    Raises:
        ModelInputError: A closing marker that nothing opened.

    Examples:
        >>> spans_in(["<think>", "A", " dog", "?", "</think>", "Yes", "."], ("<think>", "</think>"), opened=False)
        ('marker', 'thinking', 'thinking', 'thinking', 'marker', 'answer', 'answer')
    """
    text, thinking, place = "".join(pieces), opened, 0
    found: list[Span] = ["thinking" if opened else "answer"] * len(pieces)
    marked: list[tuple[int, int]] = []
    while True:
        wanted = markers[1] if thinking else markers[0]
        start = text.find(wanted, place)
        stray = -1 if thinking else text.find(markers[1], place)
        if stray >= 0 and (start < 0 or stray < start):
            got = f"{markers[1]} at character {stray} of the answer, which nothing opened"
            raise ModelInputError(message(got, f"{markers[0]} before it", "pass opened=True if the prompt opened it"))
        if start < 0:
            break
        place = start + len(wanted)
        marked.append((start, place))
        thinking = not thinking
        after: Span = "thinking" if thinking else "answer"
        first = next((n for n, (a, b) in enumerate(_places(pieces)) if a >= place or b > place), len(pieces))
        found[first:] = [after] * (len(pieces) - first)
    for steps in steps_of(pieces, marked):
        for step in steps:
            found[step] = "marker"
    return tuple(found)


def _places(pieces: Iterable[str]) -> list[tuple[int, int]]:
    """First and one past the last character of each token."""
    ends = list(accumulate(map(len, pieces)))
    return list(zip([0, *ends], ends, strict=False))
