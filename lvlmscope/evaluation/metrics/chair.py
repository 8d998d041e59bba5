"""CHAIR: how many of the objects that captions name are not in the image."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.answer_rows import object_rows, require_paired, text_rows
from lvlmscope.evaluation.metrics.ratios import Counts, Formulas, score, scores
from lvlmscope.evaluation.metrics.vocabulary import Mention, Vocabulary, require_vocabulary
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.word_boundaries import word_spans

__all__ = ["CHAIR_SCORES", "ChairScores", "chair", "require_known"]

CHAIR_SCORES: Final[Formulas] = {
    "chair_i": (("hallucinated",), ("named",)),
    "chair_s": (("hallucinating",), ("captions",)),
    "recall": (("found",), ("present",)),
    "mean_words": (("words",), ("captions",)),
}


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
    def counts(self) -> Counts:
        """What each caption counts, by the names in `CHAIR_SCORES`, int64 [caption]."""
        return {
            "captions": np.ones_like(self.words),
            "named": self.named,
            "hallucinated": self.hallucinated,
            "hallucinating": (self.hallucinated > 0).astype(np.int64),
            "found": self.found,
            "present": self.present,
            "words": self.words,
        }

    @property
    def chair_i(self) -> float:
        """Hallucinated mentions / mentions, in [0, 1]; NaN when nothing was named."""
        return score(self.counts, CHAIR_SCORES["chair_i"])

    @property
    def chair_s(self) -> float:
        """Captions with a hallucinated object / captions, in [0, 1]."""
        return score(self.counts, CHAIR_SCORES["chair_s"])

    @property
    def recall(self) -> float:
        """Named true categories / true categories, in [0, 1]; NaN when no image holds an object."""
        return score(self.counts, CHAIR_SCORES["recall"])

    @property
    def mean_words(self) -> float:
        """Mean caption length in words: CHAIR falls with length alone, so it is always shown with it."""
        return score(self.counts, CHAIR_SCORES["mean_words"])

    def summary(self) -> dict[str, int | float]:
        """The four numbers and the count of captions."""
        return {"captions": len(self.words), **scores(self.counts, CHAIR_SCORES)}


@checked
@task("score captions")
def chair(
    captions: Iterable[str],
    truths: Iterable[Collection[str]],
    vocabulary: Vocabulary,
    *,
    skip_denied: bool = False,
    skip_cut_sentence: bool = False,
) -> ChairScores:
    """Scores captions against the objects that are known to be in their images.

    `CHAIR_I` counts every mention; `CHAIR_S` counts captions. Both fall when captions get shorter, so compare them
    beside `mean_words`. As published, an object counts where a caption denies it ("there is no dog") and where a limit
    of tokens cut the last sentence off; options leave these out.

    Args:
        captions: One text for an image: a list, an array or a column.
        truths: The categories in each image, in the vocabulary's words.
        vocabulary: Which words stand for which category.
        skip_denied: Leave out objects that a caption says are not there (English). The published metric counts them.
        skip_cut_sentence: Leave out objects of a last sentence that was cut off. The published metric counts them.

    Returns:
        Counts per caption, with the scores as properties.

    Raises:
        EvaluationError: No captions, lengths that differ, a row that is no text or no collection of categories, no
            `Vocabulary`, or a truth that the vocabulary does not know.

    Reference:
        Rohrbach et al. 2018, arXiv 1809.02156.

    >>> words = Vocabulary({"dog": ["dog"], "cat": ["cat"]})
    >>> chair(["A dog and a cat."], [{"dog"}], words).summary()["chair_i"]
    0.5
    """
    words = require_vocabulary(vocabulary)
    texts, present = text_rows(captions, "captions"), object_rows(truths, "lists of objects")
    require_paired(captions=texts, lists_of_objects=present)
    require_known(present, words)
    rows = []
    for text, truth in zip(texts, present, strict=True):
        named = words.mentions(text, skip_denied=skip_denied, skip_cut_sentence=skip_cut_sentence)
        rows.append(_counts(named, truth, len(word_spans(text))))
    named_, hallucinated, found, there, lengths = np.array(rows, dtype=np.int64).T
    return ChairScores(named=named_, hallucinated=hallucinated, found=found, present=there, words=lengths)


def require_known(present: Iterable[Collection[str]], vocabulary: Vocabulary) -> None:
    """Refuses objects that a vocabulary does not know.

    Args:
        present: Categories in each image.
        vocabulary: The words.

    Raises:
        EvaluationError: Some are unknown.
    """
    known = vocabulary.categories
    unknown = {name for truth in present for name in truth} - set(known)
    if unknown:
        expected = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        raise EvaluationError(message(f"unknown objects {sorted(unknown)}", expected, "extend the vocabulary"))


def _counts(named: list[Mention], truth: frozenset[str], words: int) -> tuple[int, int, int, int, int]:
    hallucinated = sum(not mention.is_present(truth) for mention in named)
    categories = {name for mention in named for name in (mention.category, *mention.also)}
    return len(named), hallucinated, len(truth & categories), len(truth), words
