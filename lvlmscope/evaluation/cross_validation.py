"""Scores for words that took no part in choosing a layer or fitting a probe: folds by trace."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.metrics.ranking import auroc

__all__ = ["Chosen", "best_layer_scores", "combined_scores", "fitted_probe", "fold_of", "quantile_among", "strongest"]

STRENGTHS: Final = (0.001, 0.01, 0.1, 1.0)
INNER_FOLDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Scores of words, greater for words more likely hallucinated, each made without that word's trace.

    Attributes:
        scores: float64 [word]; NaN where the signal has no value.
        layers: Index of the layer chosen in each fold; empty for a combination.
        direction: Whether `"higher"` or `"lower"` values were taken for hallucinated, `"mixed"` when folds disagree;
            empty for a combination.
    """

    scores: np.ndarray
    layers: tuple[int, ...] = ()
    direction: str = ""


def fold_of(groups: np.ndarray, hallucinated: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """The fold of each word, int64 [word]: whole groups, shuffled, in folds of nearly equal size.

    Args:
        groups: Group number of each word, 0..G-1.
        hallucinated: bool [word].
        folds: Number of folds.
        seed: Of the shuffle.

    Raises:
        EvaluationError: Some fold's training words would lack grounded or hallucinated ones, or there are fewer groups.
    """
    count = int(groups.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    fold: np.ndarray = (order % folds)[groups]
    poor = [n for n in range(folds) if len(set(hallucinated[fold != n].tolist())) < 2]
    if count < folds or poor:
        got = (
            f"{int(hallucinated.sum())} hallucinated and {int((~hallucinated).sum())} grounded words in {count} traces"
        )
        expected = f"both kinds in the training part of each of {folds} folds"
        raise EvaluationError(message(got, expected, "give more traces, or fewer folds", task="measure detection"))
    return fold


def strongest(values: np.ndarray, hallucinated: np.ndarray) -> tuple[int, float] | None:
    """The layer whose AUROC is farthest from 0.5, and that AUROC with greater values taken for hallucinated.

    Args:
        values: float64 [word, layer].
        hallucinated: bool [word].

    Returns:
        Index and AUROC; None where no layer has values of both kinds of words.
    """
    found: list[float] = []
    for column in values.T:
        known = np.isfinite(column)
        found.append(
            float(auroc(column[known], hallucinated[known], np.ones((1, known.sum())))[0]) if known.any() else np.nan
        )
    distance = np.abs(np.array(found) - 0.5)
    if not np.isfinite(distance).any():
        return None
    best = int(np.nanargmax(distance))
    return best, found[best]


def best_layer_scores(values: np.ndarray, hallucinated: np.ndarray, fold: np.ndarray) -> Chosen:
    """Each fold's words scored at the layer, and in the direction, that the other folds' words chose.

    Args:
        values: float64 [word, layer].
        hallucinated: bool [word].
        fold: int64 [word].

    Returns:
        Scores: the quantile of a value among the training words, or 1 minus it; so folds can be judged together.
    """
    scores = np.full(len(hallucinated), np.nan)
    layers, signs = [], set()
    for number in range(int(fold.max()) + 1):
        test = fold == number
        best = strongest(values[~test], hallucinated[~test])
        if best is None:
            continue
        layer, area = best
        rank = quantile_among(values[~test, layer], values[test, layer])
        scores[test] = rank if area >= 0.5 else 1 - rank
        layers.append(layer)
        signs.add("higher" if area >= 0.5 else "lower")
    return Chosen(scores=scores, layers=tuple(layers), direction=signs.pop() if len(signs) == 1 else "mixed")


def quantile_among(reference: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of reference values below each value, ties counted half; NaN for NaN."""
    known = np.sort(reference[np.isfinite(reference)])
    below = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / 2
    return np.where(np.isfinite(values), below / max(len(known), 1), np.nan)


def combined_scores(columns: np.ndarray, hallucinated: np.ndarray, groups: np.ndarray, fold: np.ndarray) -> Chosen:
    """Log-odds of a logistic regression fitted on the other folds.

    Args:
        columns: float64 [word, column]; NaN takes the training median.
        hallucinated: bool [word].
        groups: Group number of each word.
        fold: int64 [word].
    """
    scores = np.full(len(hallucinated), np.nan)
    for number in range(int(fold.max()) + 1):
        test = fold == number
        probe = fitted_probe(columns[~test], hallucinated[~test], groups[~test])
        scores[test] = probe.decision_function(columns[test])
    return Chosen(scores=scores)


def fitted_probe(columns: np.ndarray, hallucinated: np.ndarray, groups: np.ndarray) -> Any:
    """A pipeline of median imputation, standardisation and logistic regression (scikit-learn).

    The L2 penalty is the one of a few with the greatest likelihood over inner folds by group; without both kinds of
    words in all of them, the middle one.

    Args:
        columns: float64 [word, column].
        hallucinated: bool [word].
        groups: Group number of each word.
    """
    inner = np.unique(groups, return_inverse=True)[1] % INNER_FOLDS
    tried = {strength: _inner_likelihood(columns, hallucinated, inner, strength) for strength in STRENGTHS}
    if any(np.isnan(score) for score in tried.values()):
        best = STRENGTHS[len(STRENGTHS) // 2]
    else:
        best = max(tried, key=lambda strength: tried[strength])
    return _pipeline(best).fit(columns, hallucinated)


def _inner_likelihood(columns: np.ndarray, hallucinated: np.ndarray, inner: np.ndarray, strength: float) -> float:
    """Mean log-likelihood of words that took no part in fitting; NaN where a fold lacks a kind of word."""
    scores = np.full(len(hallucinated), np.nan)
    for number in range(INNER_FOLDS):
        test = inner == number
        if len(set(hallucinated[~test].tolist())) < 2 or not test.any():
            return float("nan")
        scores[test] = _pipeline(strength).fit(columns[~test], hallucinated[~test]).decision_function(columns[test])
    return -float(np.logaddexp(0, np.where(hallucinated, -scores, scores)).mean())


def _pipeline(strength: float) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # A column without any value stays, as zeros, so that columns keep their places
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(impute, StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
