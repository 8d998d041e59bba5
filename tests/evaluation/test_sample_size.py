"""Images that an effect needs: the formula against simulated answers and a written-out loop, refusals."""

import math
from typing import Any

import numpy as np
import pytest

from lvlmscope.errors import EvaluationError, ModelInputError
from lvlmscope.evaluation import Dataset, Item, Vocabulary, sample_sizes, score_answers
from lvlmscope.evaluation.comparison import Evaluation

WORDS = Vocabulary({"dog": ["dog"], "cat": ["cat"], "owl": ["owl"]})


def run(images: int, seed: int = 0, *, gap: float = 0.1) -> Evaluation:
    """Captions that name a dog and often a cat that is not there; the second row names it more seldom."""
    rng = np.random.default_rng(seed)
    items = tuple(Item(id=str(n), image=None, image_id=str(n), objects=("dog",)) for n in range(images))
    data = Dataset(name="made", metric="chair", items=items, vocabulary=WORDS)
    owl = rng.random(images) < 0.5  # a mention more: the denominators of the two rows are not constant

    def captions(rate: float) -> list[str]:
        cat = rng.random(images) < rate
        return ["a dog" + " and a cat" * bool(c) + " and an owl" * bool(o) for c, o in zip(cat, owl, strict=True)]

    return score_answers(data, {"plain": captions(0.5), "edited": captions(0.5 - gap)}, resamples=100, seed=seed)


def test_the_deviation_equals_the_formula_written_out() -> None:
    found = run(40)
    first = sample_sizes(found, "chair_i", effect=0.05)[0]
    shares = []
    for label in ("edited", "plain"):
        named, wrong = (found.row(label).counts[name].tolist() for name in ("named", "hallucinated"))
        rate, mean = sum(wrong) / sum(named), sum(named) / 40
        shares.append([(w - rate * n) / mean for n, w in zip(named, wrong, strict=True)])
    own = [a - b for a, b in zip(*shares, strict=True)]
    centre = sum(own) / 40
    deviation = math.sqrt(sum((one - centre) ** 2 for one in own) / 39)
    assert first.deviation == pytest.approx(deviation)
    assert first.needed == math.ceil(((1.959964 + 0.841621) * deviation / 0.05) ** 2)
    assert first.detectable == pytest.approx((1.959964 + 0.841621) * deviation / math.sqrt(40), rel=1e-5)
    assert first.difference == pytest.approx(found.difference("edited", "plain").differences["chair_i"].value)


@pytest.mark.slow
def test_the_standard_error_is_that_of_repeated_runs() -> None:
    repeated = [run(80, seed) for seed in range(50)]
    differences = [one.difference("edited", "plain").differences["chair_i"].value for one in repeated]
    errors = [sample_sizes(one, "chair_i")[0].deviation / math.sqrt(80) for one in repeated]
    assert np.mean(errors) == pytest.approx(np.std(differences, ddof=1), rel=0.25)


def test_questions_about_one_image_count_as_one_image() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(50) < 0.7

    def built(copies: int) -> Evaluation:
        items = tuple(
            Item(id=f"{n}/{copy}", image=None, image_id=str(n), question="Is there a dog?", label=True)
            for n in range(50)
            for copy in range(copies)
        )
        data = Dataset(name="made", metric="pope", items=items)
        answers = ["yes" if right[n] else "no" for n in range(50) for _ in range(copies)]
        return score_answers(data, {"plain": ["yes"] * len(items), "edited": answers}, resamples=100)

    one, three = (sample_sizes(built(copies), "accuracy", effect=0.1)[0] for copies in (1, 3))
    assert one == three
    assert one.images == 50


def test_more_power_and_smaller_effects_need_more_images() -> None:
    found = run(100)
    base = sample_sizes(found, "chair_i", effect=0.05)[0].needed
    assert base is not None
    halved = sample_sizes(found, "chair_i", effect=0.025)[0].needed
    assert halved is not None
    assert halved == pytest.approx(4 * base, abs=4)
    assert sample_sizes(found, "chair_i", effect=0.05, power=0.9)[0].needed > base  # type: ignore[operator]
    assert sample_sizes(found, "chair_i", effect=0.05, alpha=0.01)[0].needed > base  # type: ignore[operator]
    assert sample_sizes(found, "chair_i")[0].needed is None
    assert {(one.row, one.against) for one in sample_sizes(found, "recall")} == {
        (one.row, one.against) for one in found.comparisons
    }


def test_of_rows_that_never_differ_nothing_can_be_told() -> None:
    items = tuple(Item(id=str(n), image=None, image_id=str(n), objects=("dog",)) for n in range(5))
    data = Dataset(name="made", metric="chair", items=items, vocabulary=WORDS)
    found = score_answers(data, {"plain": ["a dog"] * 5, "edited": ["a dog"] * 5}, resamples=100)
    for one in sample_sizes(found, "chair_i", effect=0.01):
        assert (one.difference, one.deviation, one.detectable, one.needed) == (0.0, 0.0, None, None)


def test_what_gives_no_answer_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"the score 'accuracy' of .*; expected: chair_i, chair_s"):
        sample_sizes(run(5), "accuracy")
    with pytest.raises(EvaluationError, match="a run on one image"):
        sample_sizes(run(1), "recall")
    wrong: Any
    for wrong in ({"effect": 0.0}, {"power": 1.0}, {"alpha": 0.0}, {"effect": math.nan}):
        with pytest.raises(ModelInputError, match=next(iter(wrong))):
            sample_sizes(run(5), "chair_i", **wrong)
