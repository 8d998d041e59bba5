"""CHAIR: how many of the objects that captions name are not in the image."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lvlmscope.errors import EvaluationError, message
from lvlmscope.tiny.world import vocabulary_words

__all__ = ["ChairScores", "Mention", "Vocabulary", "chair", "mentions", "vocabulary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One object word in a text.

    Attributes:
        category: The category that the word stands for.
        start: First character of the word.
        end: One past its last character.
    """

    category: str
    start: int
    end: int


class Vocabulary:
    """Which words stand for which category; longer words win, so that a "teddy bear" is no "bear".

    Args:
        words: Surface forms of each category, the category's own name among them where it is one; any letter case.

    Raises:
        EvaluationError: No words, or one word given for two categories.
    """

    def __init__(self, words: Mapping[str, Collection[str]]) -> None:
        self._category: dict[str, str] = {}
        for category, forms in words.items():
            for form in forms:
                known = self._category.setdefault(form.lower(), category)
                if known != category:
                    got = f"{form!r} for {known!r} and {category!r}"
                    raise EvaluationError(
                        message(got, "one category for a word", "drop one", task="build a vocabulary")
                    )
        if not self._category:
            raise EvaluationError(
                message("no words", "at least one word", "name the categories", task="build a vocabulary")
            )
        longest_first = sorted(self._category, key=len, reverse=True)
        self._pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE)

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, in the order given."""
        return tuple(dict.fromkeys(self._category.values()))

    @property
    def forms(self) -> dict[str, tuple[str, ...]]:
        """The words of each category, in lower case."""
        return {name: tuple(form for form, c in self._category.items() if c == name) for name in self.categories}

    def mentions(self, text: str) -> list[Mention]:
        """Every object word of a text, in order.

        >>> Vocabulary({"bear": ["bear"], "teddy bear": ["teddy bear"]}).mentions("A teddy bear.")
        [Mention(category='teddy bear', start=2, end=12)]
        """
        found = self._pattern.finditer(text)
        return [Mention(category=self._category[m[0].lower()], start=m.start(), end=m.end()) for m in found]


def mentions(text: str, vocabulary: Vocabulary) -> list[Mention]:
    """Every object word of a text (see `Vocabulary.mentions`)."""
    return vocabulary.mentions(text)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChairScores:
    """CHAIR over a list of captions, kept per caption so that methods can be compared on the same items.

    Attributes:
        named: Object mentions of each caption. int64 [caption]
        hallucinated: Those whose category is not in the image. int64 [caption]
        found: Categories of the image that the caption names. int64 [caption]
        present: Categories in the image. int64 [caption]
        words: Length of each caption in words. int64 [caption]
    """

    named: np.ndarray
    hallucinated: np.ndarray
    found: np.ndarray
    present: np.ndarray
    words: np.ndarray

    @property
    def chair_i(self) -> float:
        """Hallucinated mentions / mentions, in [0, 1]; NaN when nothing was named."""
        return _ratio(self.hallucinated.sum(), self.named.sum())

    @property
    def chair_s(self) -> float:
        """Captions with a hallucinated object / captions, in [0, 1]."""
        return _ratio((self.hallucinated > 0).sum(), len(self.hallucinated))

    @property
    def recall(self) -> float:
        """Named true categories / true categories, in [0, 1]; NaN when no image holds an object."""
        return _ratio(self.found.sum(), self.present.sum())

    @property
    def mean_words(self) -> float:
        """Mean caption length in words: CHAIR falls with length alone, so it is always told with it."""
        return _ratio(self.words.sum(), len(self.words))

    def summary(self) -> dict[str, int | float]:
        """The four numbers and the count of captions."""
        return {
            "captions": len(self.words),
            "chair_i": self.chair_i,
            "chair_s": self.chair_s,
            "recall": self.recall,
            "mean_words": self.mean_words,
        }


def chair(captions: Sequence[str], truths: Sequence[Collection[str]], vocabulary: Vocabulary) -> ChairScores:
    """Scores captions against the objects that are known to be in their images.

    `CHAIR_I` counts every mention; `CHAIR_S` counts captions. Both fall when captions get shorter.

    Args:
        captions: One text for an image.
        truths: The categories in each image, in the vocabulary's words.
        vocabulary: Which words stand for which category.

    Returns:
        Counts per caption, with the scores as properties.

    Raises:
        EvaluationError: No captions, lengths that differ, or a truth that the vocabulary does not know.

    Reference:
        Rohrbach et al. 2018, arXiv 1809.02156.

    >>> words = Vocabulary({"dog": ["dog"], "cat": ["cat"]})
    >>> chair(["A dog and a cat."], [{"dog"}], words).summary()["chair_i"]
    0.5
    """
    if not captions or len(captions) != len(truths):
        got = f"{len(captions)} captions and {len(truths)} lists of objects"
        raise EvaluationError(
            message(got, "one list of objects for each caption", "pair them up", task="score captions")
        )
    unknown = {name for truth in truths for name in truth} - set(vocabulary.categories)
    if unknown:
        expected = ", ".join(vocabulary.categories[:8]) + ", ..."
        raise EvaluationError(
            message(f"unknown objects {sorted(unknown)}", expected, "extend the words", task="score captions")
        )
    rows = [_caption(text, set(truth), vocabulary) for text, truth in zip(captions, truths, strict=True)]
    named, hallucinated, found, present, words = np.array(rows, dtype=np.int64).T
    return ChairScores(named=named, hallucinated=hallucinated, found=found, present=present, words=words)


def _caption(text: str, truth: set[str], vocabulary: Vocabulary) -> tuple[int, int, int, int, int]:
    named = [m.category for m in vocabulary.mentions(text)]
    hallucinated = sum(category not in truth for category in named)
    return len(named), hallucinated, len(truth & set(named)), len(truth), len(text.split())


def _ratio(part: int | np.integer, whole: int | np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")


def vocabulary() -> Vocabulary:
    """The words of the bundled model's world, synonyms and plurals among them."""
    return Vocabulary(vocabulary_words())
