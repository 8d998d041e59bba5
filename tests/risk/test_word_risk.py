"""Ranks with ties and missing values, ranges left on either side, and words of distinct risks in the table."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.risk import Calibration
from lvlmscope.risk.calibration import SHARES, Probe, Reference
from lvlmscope.risk.cut_words import CutWord
from lvlmscope.risk.diagnosis import Diagnosis
from lvlmscope.risk.word_risk import OutOfRange, WordReadings, WordRisk, word_risks

NAN = math.nan


def word(text: str, step: int) -> LabelledWord:
    return LabelledWord(text=text, start=step, end=step + 1, steps=(step,), label="grounded", category=text)


def readings(values: dict[str, Any], sides: dict[str, Any], calibration: Calibration | None = None) -> WordReadings:
    arrays = {name: np.array(found, dtype=np.float64) for name, found in values.items()}
    count = len(next(iter(arrays.values())))
    layers = {name: tuple(range(found.shape[1])) if found.shape[1] > 1 else () for name, found in arrays.items()}
    words = tuple(word(f"word{n}", n) for n in range(count))
    return WordReadings(words=words, values=arrays, layers=layers, suspicious=sides, calibration=calibration)


def test_ranks_within_an_answer_share_ties_and_pass_over_missing_words() -> None:
    given = readings({"one": [[3.0, NAN], [1.0, NAN], [3.0, 5.0], [NAN, NAN], [7.0, NAN]]}, {"one": "high"})
    ranks = given.ranks("one")
    np.testing.assert_allclose(ranks[:, 0], [0.5, 0.0, 0.5, NAN, 1.0])
    assert np.isnan(ranks[:, 1]).all()  # a single word has no rank
    np.testing.assert_allclose(given.suspicion("one"), ranks)
    low = dataclasses.replace(given, suspicious={"one": "low"})
    np.testing.assert_allclose(low.suspicion("one"), 1 - ranks)


def test_without_a_calibration_a_risk_is_the_mean_rank_over_signals_on_their_sides() -> None:
    rising, falling = [[float(n)] for n in range(5)], [[-(float(n) ** 2)] for n in range(5)]
    given = readings(
        {"high": rising, "low": falling, "unclaimed": falling}, {"high": "high", "low": "low", "unclaimed": None}
    )
    found = word_risks(given)
    assert [each.risk for each in found] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert [[one.signal for one in each.raised] for each in found] == [[], [], [], [], ["low", "high"]]
    far = found[4].raised[0]
    assert (far.value, far.layer) == (-16.0, None)
    assert (far.low, far.high) == pytest.approx(tuple(np.quantile([0, -1, -4, -9, -16], [0.05, 0.95])))
    four = readings({"high": rising[:4]}, {"high": "high"})
    assert all(math.isnan(each.risk) for each in word_risks(four))  # fewer than five words


def calibrated(**directions: Any) -> Calibration:
    """Signals of two layers, whose second one counts: 90 % of correct words lie from 0.05 to 0.95."""
    references = {
        name: Reference(
            layers=(2, 6),
            quantiles=((9.0,) * len(SHARES), SHARES),
            place=1,
            direction=direction,
            auroc=0.8,
            low=0.7,
            high=0.9,
        )
        for name, direction in directions.items()
    }
    count = len(directions)
    probe = Probe(
        needs=(),
        signals=tuple(directions),
        centre=(0.5,) * count,
        scale=(0.25,) * count,
        fill=(0.5,) * count,
        weights=tuple(1.0 if direction == "higher" else -1.0 for direction in directions.values()),
        intercept=0.0,
    )
    return Calibration(
        model="by hand",
        num_layers=8,
        num_heads=2,
        tokens="first",
        grounded_words=30,
        hallucinated_words=10,
        references=references,
        probes=(probe,),
        words={"dog": ("dog",)},
    )


def test_with_a_calibration_each_side_raises_its_own_words_the_farthest_signal_first() -> None:
    values = {
        "above": [[0.0, 0.95], [0.0, 0.96], [0.0, 0.04], [0.0, NAN]],
        "below": [[0.0, 0.05], [0.0, -0.4], [0.0, 0.96], [0.0, 0.04]],
    }
    given = readings(values, {"above": "high", "below": "low"}, calibrated(above="higher", below="lower"))
    found = word_risks(given)
    assert [[one.signal for one in each.raised] for each in found] == [[], ["below", "above"], [], ["below"]]
    assert found[1].raised[0] == OutOfRange(signal="below", layer=6, value=-0.4, low=0.05, high=0.95)
    odds = [
        (0.95 - 0.5) / 0.25 + (0.5 - 0.05) / 0.25,
        0.46 / 0.25 + 0.9 / 0.25,
        -0.46 / 0.25 - 0.46 / 0.25,
        0.46 / 0.25,
    ]
    assert [each.risk for each in found] == pytest.approx([1 / (1 + math.exp(-one)) for one in odds])


def diagnosis(*risks: float, risky: tuple[int, ...] = ()) -> Diagnosis:
    words = tuple(
        WordRisk(text=f"word{n}", steps=(n,), category=None, risk=risk, raised=()) for n, risk in enumerate(risks)
    )
    return Diagnosis(
        answer_tokens=("word",),
        model="by hand",
        calibrated=True,
        usual_risk=0.25,
        words=words,
        risky=tuple(words[n] for n in risky),
        layers=(),
        heads=(),
        drift=None,
        shares=None,
        interventions=(),
        left_out=(),
    )


def test_words_of_distinct_risks_stand_in_their_order_and_the_lowest_are_counted() -> None:
    found = diagnosis(0.2, 0.9, NAN, 0.5, 0.1, 0.3, 0.4, 0.6, 0.8, 0.7, risky=(1, 8))
    (block,) = (each for each in found.blocks() if each.title == "words")
    assert [row[:2] for row in block.rows] == [
        ("word1", "90% !"),
        ("word8", "80% !"),
        ("word9", "70%"),
        ("word7", "60%"),
        ("word3", "50%"),
        ("word6", "40%"),
        ("word5", "30%"),
        ("word0", "20%"),
    ]
    assert "2 more words rank lower" in block.note
    (nine,) = (each for each in diagnosis(*[0.1] * 9).blocks() if each.title == "words")
    assert "1 more word ranks lower" in nine.note
    (eight,) = (each for each in diagnosis(*[0.1] * 8).blocks() if each.title == "words")
    assert "more word" not in eight.note


def test_a_words_loss_is_told_with_the_first_and_last_layer_of_its_window() -> None:
    def told(lost: float, there: float, *layers: int) -> str:
        return str(CutWord(text="dog", steps=(1,), lost=lost, layers=layers, lost_there=there))

    assert told(2.0, 1.0, 3, 4, 6) == "'dog' loses 2.0 nats without the image, 1.0 nats without it in layers 3-6 only"
    assert told(2.0, 0.0, 3) == "'dog' loses 2.0 nats without the image, 0.0 nats without it in layer 3 only"
    assert told(0.0, 0.1, 3).endswith("in layer 3 only")
    assert told(0.09, 0.09, 3) == "'dog' loses nothing without the image (0.09 nats)"
    assert told(-2.0, 0.0, 3) == "'dog' loses nothing without the image (-2.00 nats)"
