"""Where words stand in a text, whatever their letter case and typography."""

import re

from lvlmscope.traces.text_folding import fold
from lvlmscope.traces.word_boundaries import HAN, word_edges

__all__ = ["find_words"]

_JOINTS = re.compile(r"[\s-]+")
_SEVERAL_HAN = re.compile(rf"[{HAN}]{{2,}}")


def find_words(text: str, words: str) -> list[tuple[int, int]]:
    r"""First and one past the last character of each place at which a word, or several, stand in a text.

    Letter case, vowel points and typographic signs do not count; a space in `words` is any run of blanks, line breaks
    and hyphens. A part of a word is not the word. Two or more Han characters are found anywhere, as dictionaries
    divide them differently.

    Args:
        text: Where to look.
        words: One word or several.

    Returns:
        Spans in characters of the text, in order, without overlap.

    Examples:
        >>> find_words("A traffic\nlight; Traffic-lights.", "Traffic light")
        [(2, 15)]
        >>> find_words("ในภาพมีแมวสองตัว", "แมว")
        [(7, 10)]
    """
    parts = [part for part in _JOINTS.split(fold(words).text) if part]
    if not parts:
        return []
    folded = fold(text)
    anywhere = bool(_SEVERAL_HAN.fullmatch("".join(parts)))
    edges = word_edges(folded.text)
    found: list[tuple[int, int]] = []
    start = 0
    pattern = re.compile(r"[\s-]+".join(map(re.escape, parts)))
    while (match := pattern.search(folded.text, start)) is not None:
        whole = anywhere or (match.start() in edges and match.end() in edges)
        start = match.end() if whole else match.start() + 1
        if whole:
            found.append(folded.span(*match.span()))
    return found
