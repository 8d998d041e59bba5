"""Texts as the words and gaps by which names of objects are found in them."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from lvlmscope.traces.text_folding import FoldedText, fold
from lvlmscope.traces.word_boundaries import HAN, UNSPACED, word_edges

__all__ = ["TextTokens", "text_tokens"]

_BLANKS: Final = re.compile(r"[\s-]+")
_HAN: Final = re.compile(f"[{HAN}]+")


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A text's tokens: words, single characters of scripts without spaces, and symbols.

    Attributes:
        folded: The text that they are of.
        edges: Places in it at which a word may begin or end.
        words: Text of each token.
        starts: First character of each, in the folded text.
        ends: One past the last.
        gaps: What stands between each token and the next: a space for any blanks and hyphens, punctuation as it is.
        hyphens: Whether that is a hyphen alone, which joins two words to one.
    """

    folded: FoldedText
    edges: frozenset[int]
    words: list[str]
    starts: list[int]
    ends: list[int]
    gaps: list[str]
    hyphens: list[bool]

    def key(self, first: int, count: int) -> tuple[str, ...]:
        """Some tokens with the gaps between them.

        Args:
            first: Number of the first.
            count: How many.
        """
        if count == 1:
            return (self.words[first],)
        pairs = zip(self.gaps[first : first + count - 1], self.words[first + 1 : first + count], strict=True)
        return (self.words[first], *(part for pair in pairs for part in pair))

    def is_whole(self, first: int, count: int) -> bool:
        """Whether some tokens are no part of a longer word: "man" in "man-eating" is one.

        Args:
            first: Number of the first.
            count: How many.
        """
        last = first + count - 1
        if (first and self.hyphens[first - 1]) or self.hyphens[last]:
            return False
        if self.starts[first] in self.edges and self.ends[last] in self.edges:
            return True
        return count > 1 and all(_HAN.fullmatch(word) for word in self.words[first : last + 1])

    def span(self, first: int, count: int) -> tuple[int, int]:
        """Where some tokens stand in the text as it was given.

        Args:
            first: Number of the first.
            count: How many.
        """
        return self.folded.span(self.starts[first], self.ends[first + count - 1])


def text_tokens(text: str) -> TextTokens:
    """The tokens of a text.

    Args:
        text: Any text.

    Examples:
        >>> text_tokens("The dog's hot-dogs: 3.5").words
        ['the', 'dog', "'s", 'hot', 'dogs', '3.5']
        >>> text_tokens("两只猫🙂").words
        ['两', '只', '猫', '🙂']
    """
    folded = fold(text)
    edges = word_edges(folded.text)
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _stretches(folded.text, edges):
        starts.append(start)
        ends.append(end)
    words = [folded.text[start:end] for start, end in zip(starts, ends, strict=True)]
    between = [folded.text[end:start] for end, start in zip(ends[:-1], starts[1:], strict=True)]
    between = [_joined(gap, *pair) for gap, pair in zip(between, pairwise(words), strict=True)]
    return TextTokens(
        folded=folded,
        edges=edges,
        words=words,
        starts=starts,
        ends=ends,
        gaps=[_BLANKS.sub(" ", gap) for gap in between] + [""] * bool(words),
        hyphens=[gap == "-" for gap in between] + [False] * bool(words),
    )


def _joined(gap: str, before: str, after: str) -> str:
    """A line break between two characters of a script without spaces is none between words."""
    blank = gap.isspace() and UNSPACED.match(before) is not None and UNSPACED.match(after) is not None
    return "" if blank else gap


def _stretches(text: str, edges: frozenset[int]) -> Iterable[tuple[int, int]]:
    ordered = sorted(edges)
    for start, end in pairwise(ordered):
        piece = text[start:end]
        if piece.isascii() and piece.isalnum():
            yield start, end
        elif any(character.isalnum() for character in piece):
            if UNSPACED.search(piece) is None:
                yield start, end
            else:
                yield from ((place, place + 1) for place in range(start, end))
        else:
            yield from ((start + n, start + n + 1) for n, character in enumerate(piece) if _is_symbol(character))


@lru_cache(maxsize=1024)
def _is_symbol(character: str) -> bool:
    return unicodedata.category(character).startswith("S")
