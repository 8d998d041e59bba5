"""Outcomes with and without an intervention: differences, intervals, McNemar."""

from typing import Any

import numpy as np
import pytest

from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation.intervention_trials import Outcome, asked_of, differences, mcnemar, measure
from lvlmscope.evaluation.metrics.chair import chair
from lvlmscope.evaluation.metrics.pope import pope
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.tiny import scenes

WORDS = Vocabulary({"dog": ["dog"], "cat": ["cat"], "cow": ["cow"]})


def outcome(captions: list[str], verdicts: list[str]) -> Outcome:
    truths = [{"dog"}] * len(captions)
    return Outcome(
        captions=chair(captions, truths, WORDS), probes=pope(verdicts, [n % 2 == 0 for n in range(len(verdicts))])
    )


def test_differences_by_hand_and_their_intervals() -> None:
    before = outcome(["A dog and a cat."] * 40, ["yes"] * 40)
    after = outcome(["A dog."] * 30 + ["A cow."] * 10, ["yes", "no"] * 20)
    found = differences(before, after, resamples=500)
    assert found["chair_i"].value == pytest.approx(10 / 40 - 1 / 2)
    assert found["chair_s"].value == pytest.approx(10 / 40 - 1)
    assert found["recall"].value == pytest.approx(30 / 40 - 1)
    assert found["mean_words"].value == pytest.approx(2 - 5)
    assert found["accuracy"].value == pytest.approx(0.5)
    assert found["f1"].value == pytest.approx(1 - 2 / 3)
    for gap in found.values():
        assert gap.low <= gap.value <= gap.high
    assert found["mean_words"].low == found["mean_words"].high
    assert found["chair_i"].high < 0


def test_the_same_outcome_differs_by_nothing_for_certain() -> None:
    one = outcome(["A dog and a cat.", "A dog."], ["yes", "no"])
    for gap in differences(one, one).values():
        assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0)
    assert mcnemar(one.probes, one.probes) == (0, 0, 1.0)


def test_the_bootstrap_is_paired_and_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(3)
    before = outcome(["A dog and a cat." if rng.random() < 0.5 else "A dog." for _ in range(60)], ["yes"] * 60)
    after = outcome(["A cat." if rng.random() < 0.3 else "A dog." for _ in range(60)], ["yes"] * 60)
    found = differences(before, after, resamples=400, seed=5)["chair_i"]
    drawn = np.random.default_rng(5).multinomial(60, np.full(60, 1 / 60), size=400)
    gaps = []
    for counts in drawn:
        picked = [n for n, times in enumerate(counts) for _ in range(times)]
        shares = [
            sum(o.captions.hallucinated[n] for n in picked) / sum(o.captions.named[n] for n in picked)
            for o in (after, before)
        ]
        gaps.append(shares[0] - shares[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(gaps, [2.5, 97.5])))


def test_mcnemar_agrees_with_the_binomial_test() -> None:
    from scipy.stats import binomtest

    plain = pope(["yes"] * 20, [True] * 12 + [False] * 8)
    after = pope(["no"] * 3 + ["yes"] * 9 + ["no"] * 7 + ["yes"], [True] * 12 + [False] * 8)
    right, wrong, p = mcnemar(plain, after)
    assert (right, wrong) == (7, 3)
    assert p == pytest.approx(binomtest(3, 10, 0.5).pvalue)


def test_questions_are_balanced_and_true() -> None:
    asked = [(scene, *asked_of(scene)) for scene in scenes("prior", n=20)]
    assert sum(truth for *_, truth in asked) == 10
    for scene, name, truth in asked:
        assert (name in scene.present) == truth
        if not truth and scene.missing_partners:
            assert name in scene.missing_partners


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(EvaluationError, match="2 and 1 scenes; expected: the same scenes"):
        differences(outcome(["A dog."] * 2, ["yes"] * 2), outcome(["A dog."], ["yes"]))
    nothing: Any = None
    with pytest.raises(EvaluationError, match="no scenes; expected: at least one"):
        measure(nothing, [])
