"""Which words count as at risk."""

import numpy as np
import pytest

from lvlmscope.risk.at_risk_threshold import risk_threshold, usual_risk, words_at_risk
from lvlmscope.risk.calibration import bundled_calibration
from lvlmscope.risk.word_risk import WordRisk


def words(*risks: float) -> list[WordRisk]:
    return [WordRisk(text="word", steps=(n,), category=None, risk=risk, raised=()) for n, risk in enumerate(risks)]


def test_the_usual_risk_is_the_share_of_hallucinated_words() -> None:
    calibration = bundled_calibration()
    counts = calibration.hallucinated_words, calibration.grounded_words
    assert usual_risk(calibration) == pytest.approx(counts[0] / sum(counts))
    assert np.isnan(usual_risk(None))


def test_with_a_calibration_words_of_one_and_a_half_times_the_usual_risk_are_at_risk() -> None:
    assert words_at_risk(words(0.37, 0.375, 0.9, float("nan")), 0.25) == (1, 2)
    assert words_at_risk(words(0.1, 0.2), 0.25) == ()


def test_where_most_words_are_hallucinated_a_word_can_still_be_at_risk() -> None:
    two_thirds = 2 / 3  # 1.5 times that is 1, which no risk reaches
    assert words_at_risk(words(0.7, 0.83, 0.84, 0.89), two_thirds) == (2, 3)
    for usual in (0.5, 0.9, 0.999):
        assert usual < risk_threshold(usual) < 1
    assert risk_threshold(0.5) == 0.75


def test_without_a_calibration_the_highest_quarter_is_at_risk() -> None:
    assert words_at_risk(words(0.1, 0.9, 0.2, 0.8, 0.3), float("nan")) == (1, 3)  # two of five
    assert words_at_risk(words(float("nan"), 0.5), float("nan")) == (1,)
    assert words_at_risk(words(float("nan")), float("nan")) == ()
