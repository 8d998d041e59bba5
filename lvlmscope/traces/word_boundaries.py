"""Where words begin and end: Unicode's rules, with ICU's dictionaries for scripts that are written without spaces."""

import re
from typing import Final

from icu4py.breakers import WordBreaker

__all__ = ["HAN", "UNSPACED", "word_edges", "word_spans"]

_LOCALE: Final = "en"  # the rules and dictionaries do not depend on it, save for details of Finnish, Swedish and Hebrew
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_HYPHENS: Final = frozenset("-\u2010\u2011")
HAN: Final = r"\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Han, kana, Thai, Lao, Burmese and Khmer: dictionaries say where their words end
UNSPACED: Final = re.compile(
    rf"[{HAN}\u3040-\u30ff\u31f0-\u31ff\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff]"
)
_POSSESSIVE: Final = re.compile(r"['\u2019]s", re.IGNORECASE)
_JOINTS: Final = re.compile(r"(?<=[^\W\d])[.:_\u00b7](?=[^\W\d])")  # a full stop without a space after it


def _segments(text: str) -> list[tuple[int, int]]:
    """Stretches between the word boundaries of Unicode's annex 29, in code points; they join to the text."""
    found, place = [], 0
    # The pieces are counted: icu4py 1.2 tells their offsets in UTF-16 units
    for piece in WordBreaker(_SURROGATES.sub("\ufffd", text), _LOCALE):
        found.append((place, place + len(piece)))
        place += len(piece)
    return found


def _is_word(piece: str) -> bool:
    return piece.isalnum() or any(character.isalnum() for character in piece)


def word_spans(text: str) -> list[tuple[int, int]]:
    """First and one past the last character of each word, in order; words joined by a hyphen are one.

    Args:
        text: Any text.

    Returns:
        Spans in code points; spaces, punctuation, symbols and emoji are in none.

    Examples:
        >>> text = "A man's dog-house, 3.5 m high"
        >>> [text[start:end] for start, end in word_spans(text)]
        ['A', "man's", 'dog-house', '3.5', 'm', 'high']
        >>> text = "แมวสองตัว 两只猫。"
        >>> [text[start:end] for start, end in word_spans(text)]
        ['แมว', 'สอง', 'ตัว', '两', '只', '猫']
    """
    spans: list[tuple[int, int]] = []
    joined = False
    for start, end in _segments(text):
        piece = text[start:end]
        if _is_word(piece):
            touches = joined and bool(spans) and spans[-1][1] == start - 1
            if touches and not UNSPACED.match(piece) and not UNSPACED.match(text[start - 2]):
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        joined = piece in _HYPHENS
    return spans


def word_edges(text: str) -> frozenset[int]:
    """Places at which a word may begin or end; beside the boundaries, those at hyphens, stops and a possessive's 's.

    Args:
        text: Any text.

    Returns:
        Numbers of characters; 0 and the text's length are among them.

    Examples:
        >>> sorted(word_edges("dog's o'clock"))
        [0, 3, 5, 6, 13]
    """
    edges = {0, len(text)}
    for start, end in _segments(text):
        edges.add(start)
        if end - start > 2 and not text[start:end].isalpha():
            piece = text[start:end]
            if _POSSESSIVE.fullmatch(piece[-2:]):
                edges.add(end - 2)
            edges |= {start + m.start() + side for m in _JOINTS.finditer(piece) for side in (0, 1)}
    return frozenset(edges)
