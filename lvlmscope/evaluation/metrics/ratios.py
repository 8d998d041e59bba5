"""Scores as ratios of counts, undefined where there is nothing to count."""

from collections.abc import Mapping

import numpy as np

__all__ = ["Counts", "Formula", "Formulas", "ratio", "score", "scores", "terms"]

Counts = Mapping[str, np.ndarray]  # int64 [item] by what is counted
Formula = tuple[tuple[str, ...], tuple[str, ...]]  # the counts whose sum is divided, and those whose sum divides
Formulas = Mapping[str, Formula]  # by score


def ratio(part: int | np.integer, whole: int | np.integer) -> float:
    """`part / whole`; NaN when `whole` is 0.

    Args:
        part: A count.
        whole: The count that it is a part of.

    Examples:
        >>> ratio(1, 4), ratio(0, 0)
        (0.25, nan)
    """
    return float(part) / float(whole) if whole else float("nan")


def terms(counts: Counts, formula: Formula) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of each item, two arrays [item].

    Args:
        counts: What each item counts.
        formula: What is summed.

    Examples:
        >>> terms({"hits": np.array([1, 0]), "said": np.array([1, 1])}, (("hits", "hits"), ("said",)))
        (array([2, 0]), array([1, 1]))
    """
    part, whole = (np.sum([counts[name] for name in names], axis=0) for names in formula)
    return part, whole


def score(counts: Counts, formula: Formula) -> float:
    """The sum of the numerators over that of the denominators; NaN where that is 0.

    Args:
        counts: What each item counts.
        formula: What is summed.
    """
    part, whole = terms(counts, formula)
    return ratio(part.sum(), whole.sum())


def scores(counts: Counts, formulas: Formulas) -> dict[str, float]:
    """Every score.

    Args:
        counts: What each item counts.
        formulas: By score, what is summed.
    """
    return {name: score(counts, formula) for name, formula in formulas.items()}
