"""When a word counts as at risk: a multiple of the usual risk, or the highest share without a calibration."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

from lvlmscope.risk.calibration import Calibration
from lvlmscope.risk.word_risk import WordRisk

__all__ = ["risk_threshold", "subject_of", "usual_risk", "words_at_risk"]

_TIMES_USUAL: Final = 1.5  # of the usual risk, from which a word is at risk; where that passes half way to 1, half way
_HIGHEST: Final = 4  # without a calibration, one word in so many is


def usual_risk(calibration: Calibration | None) -> float:
    """Share of hallucinated words in the calibration; NaN without one.

    Args:
        calibration: Of the trace's model.
    """
    if calibration is None:
        return float("nan")
    return calibration.hallucinated_words / (calibration.grounded_words + calibration.hallucinated_words)


def risk_threshold(usual: float) -> float:
    """The risk from which a word counts as at risk, in (usual, 1).

    Args:
        usual: What `usual_risk` gives, in [0, 1].

    Returns:
        1.5 times the usual risk, or half way from it to 1 where that is less: from a usual risk of a half on, 1.5 times
        would near 1, which no risk reaches.

    >>> risk_threshold(0.2), risk_threshold(0.8)
    (0.30000000000000004, 0.9)
    """
    return min(_TIMES_USUAL * usual, (1 + usual) / 2)


def words_at_risk(risks: Sequence[WordRisk], usual: float) -> tuple[int, ...]:
    """Indices of the words at risk: `risk_threshold` or more; without a calibration those that rank highest, a quarter.

    Args:
        risks: The judged words; those without a risk are never at risk.
        usual: What `usual_risk` gives.
    """
    known = sorted((n for n, word in enumerate(risks) if isfinite(word.risk)), key=lambda n: -risks[n].risk)
    if isfinite(usual):
        return tuple(sorted(n for n in known if risks[n].risk >= risk_threshold(usual)))
    return tuple(sorted(known[: -(-len(known) // _HIGHEST)]))


def subject_of(words: Sequence[WordRisk], risky: Sequence[Any], *, calibrated: bool) -> str:
    """What the words are called that shares of heads and interventions are about.

    Args:
        words: The judged words.
        risky: Those at risk, or their indices; where there are none the one that ranks highest is meant.
        calibrated: Whether risks are probabilities.
    """
    if risky:
        return "the words at risk" if calibrated else "the words that rank highest"
    if any(isfinite(word.risk) for word in words):
        return "the word that ranks highest"
    return "the first word" if words else "all tokens"
