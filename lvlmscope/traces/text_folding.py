"""Texts made comparable: letter case, compatible forms, vowel points and typographic signs folded away."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["FoldedText", "fold"]

# Vowel points of Arabic and Hebrew, tatweel, and signs that are not seen: soft hyphen, joiners, variation selectors
_DROPPED: Final = re.compile(
    r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065f\u0670"
    r"\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u00ad\u200c\u200d\u2060\ufeff\ufe00-\ufe0f]"
)
_SIGNS: Final = {ord(sign): "'" for sign in "\u2018\u2019\u02bc\u2032"} | {ord(sign): "-" for sign in "\u2010\u2011"}


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A folded text and where each of its characters comes from.

    Attributes:
        text: The folded text.
        starts: First character in the original of each character.
        ends: One past the last.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A stretch of the folded text, in characters of the original.

        Args:
            start: Its first character.
            end: One past its last; more than `start`.
        """
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> FoldedText:
    """A text without what does not make another word of it.

    Letter case goes (the Turkish dotted and dotless i are one letter), and with it compatible forms (full width),
    the vowel points of Arabic and Hebrew, soft hyphens, and the difference of typographic apostrophes and hyphens.

    Args:
        text: Any text.

    Returns:
        The folded text with the places of its characters in the original.

    Examples:
        >>> fold("Köpeğin IŞIĞI: dog’s").text
        "köpeğin işiği: dog's"
        >>> folded = fold("قِطَّة")
        >>> folded.text, folded.span(0, 3)
        ('قطة', (0, 6))
    """
    if text.isascii():
        return FoldedText(text.lower(), range(len(text)), range(1, len(text) + 1))
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    place, length = 0, len(text)
    while place < length:
        end = place + 1
        while end < length and unicodedata.combining(text[end]):
            end += 1
        piece = _folded(text[place:end])
        pieces.append(piece)
        starts += [place] * len(piece)
        ends += [end] * len(piece)
        if not piece and ends:
            ends[-1] = end
        place = end
    return FoldedText("".join(pieces), starts, ends)


@lru_cache(maxsize=4096)
def _folded(cluster: str) -> str:
    """A character with its combining marks, folded."""
    plain = unicodedata.normalize("NFKC", _DROPPED.sub("", cluster)).casefold()
    plain = plain.replace("i\u0307", "i").replace("\u0131", "i").translate(_SIGNS)
    return unicodedata.normalize("NFC", plain)
