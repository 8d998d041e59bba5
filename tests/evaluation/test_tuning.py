"""`tune`: the search, its limit of recall, bad input; a rule stands for the model where only the search counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from lvlmscope.errors import EvaluationError, InterventionError
from lvlmscope.evaluation import bundled_dataset, evaluate, tuning
from lvlmscope.evaluation.datasets.bundled import Bundled
from lvlmscope.evaluation.item_counts import DIRECTIONS, SCORES
from lvlmscope.evaluation.labelled_images import Example, known_images
from lvlmscope.evaluation.metrics.chair import chair
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.tuning import Trial, Tuning, tune
from lvlmscope.interventions import CLVA, DLEAF
from lvlmscope.tiny import scenes
from lvlmscope.verification.loading import load

WORDS = Vocabulary({"dog": ["dog"], "cat": ["cat"]})


@dataclass(frozen=True)
class Image:
    image: Any
    present: frozenset[str]


@pytest.fixture
def ruled(monkeypatch: pytest.MonkeyPatch) -> None:
    """CHAIR_I falls with gamma, and from 0.6 on recall is lost."""

    def measure(*_: Any, **__: Any) -> Callable[[Any], Any]:
        def measured(intervention: DLEAF | None) -> Any:
            gamma = 0.0 if intervention is None else intervention.gamma
            hallucinated = round(10 * (1 - gamma))
            found = 20 if gamma < 0.6 else 10
            captions = ["A dog."] * found + ["A."] * (20 - found)
            captions = [text + " A cat." if n < hallucinated else text for n, text in enumerate(captions)]
            scores = chair(captions, [{"dog"}] * 20, WORDS).summary()
            return {name: float(value) for name, value in scores.items()}, 7

        return measured

    monkeypatch.setattr(tuning, "_measure", measure)
    monkeypatch.setattr(tuning, "find_processor", lambda *_: None)
    monkeypatch.setattr(tuning, "unwrap", lambda model: model)


def images(count: int = 2) -> list[Example]:
    return [Image(image=None, present=frozenset({"dog"}))] * count


@pytest.mark.usefixtures("ruled")
def test_the_best_setting_within_the_limit_of_recall_is_found() -> None:
    seen: list[Trial] = []
    found = tune(None, "dleaf", images(), space={"gamma": (0.0, 1.0)}, trials=25, progress=seen.append, words=WORDS)
    assert len(found.trials) == len(seen) == 25
    best = found.best.intervention
    assert isinstance(best, DLEAF)
    assert 0.4 < best.gamma < 0.6
    assert found.best.edited == 7
    assert any(isinstance(t.intervention, DLEAF) and t.intervention.gamma >= 0.6 for t in found.trials)
    again = tune(None, DLEAF, images(), space={"gamma": (0.0, 1.0)}, trials=25, words=WORDS)
    assert [t.intervention for t in again.trials] == [t.intervention for t in found.trials]


@pytest.mark.usefixtures("ruled")
def test_spaces_of_every_kind_and_fixed_values() -> None:
    space: dict[str, Sequence[Any]] = {"heads": (1, 3), "threshold": ["min", "max"], "layers": [(0.0, 0.5), (0.5, 1.0)]}
    found = tune(None, "DLEAF", images(), space=space, fixed={"gamma": 0.25}, trials=12, words=WORDS)
    tried: list[Any] = [t.intervention for t in found.trials]
    assert {r.gamma for r in tried} == {0.25}
    assert {r.heads for r in tried} <= {1, 2, 3}
    assert {r.threshold for r in tried} == {"min", "max"}
    assert {r.layers for r in tried} == {(0.0, 0.5), (0.5, 1.0)}


@pytest.mark.usefixtures("ruled")
def test_settings_that_the_method_refuses_are_passed_over() -> None:
    found = tune(None, "DLEAF", images(), space={"gamma": (0.5, 1.5)}, trials=12, words=WORDS)
    assert 0 < len(found.trials) < 12
    with pytest.raises(EvaluationError, match=r"tune DLEAF: .*settings that it accepts"):
        tune(None, "DLEAF", images(), space={"gamma": (2.0, 3.0)}, trials=2, words=WORDS)


def trial(**scores: float) -> Trial:
    return Trial(intervention=DLEAF(), scores=scores, edited=1)


def test_no_trial_within_the_limits_tells_the_least_loss() -> None:
    plain = {"chair_i": 0.3, "recall": 0.8}
    trials = (trial(chair_i=0.2, recall=0.6), trial(chair_i=0.1, recall=0.7))
    found = Tuning(plain=plain, trials=trials, score="chair_i", max_loss={"recall": 0.02})
    assert found.feasible == ()
    with pytest.raises(
        EvaluationError, match=r"none that loses at most 0\.020 of recall; expected: 0\.100 of recall or more"
    ):
        _ = found.best


def test_the_best_trial_is_best_in_the_direction_of_its_score() -> None:
    plain = {"accuracy": 0.5, "recall": 0.8, "hal": 0.4}
    low, high = trial(accuracy=0.6, recall=0.9, hal=0.1), trial(accuracy=0.7, recall=0.79, hal=0.5)

    def best(score: str, **max_loss: float) -> Trial:
        return Tuning(plain=plain, trials=(low, high), score=score, max_loss=max_loss).best

    assert best("accuracy") is high
    assert best("hal") is low
    assert best("accuracy", recall=0.02) is high
    assert best("accuracy", recall=0.005) is low
    assert best("accuracy", hal=0.05) is low
    found = Tuning(plain=plain, trials=(), score="accuracy", max_loss={"recall": 0.0, "hal": 0.0})
    assert found.objective(high.scores) == pytest.approx(-0.2 + 10 * (0.01 + 0.1))


def test_captions_that_name_nothing_are_never_the_best() -> None:
    plain = {"chair_i": 0.3, "recall": 0.8}
    empty, some = trial(chair_i=float("nan"), recall=0.0), trial(chair_i=0.2, recall=0.7)
    for limits in ({}, {"recall": 1.0}, {"recall": 0.2}):
        found = Tuning(plain=plain, trials=(empty, some), score="chair_i", max_loss=limits)
        assert found.best is some
        assert found.objective(empty.scores) == float("inf")
    assert Tuning(plain=plain, trials=(empty,), score="recall", max_loss={"chair_i": 9.0}).feasible == ()


@pytest.mark.usefixtures("ruled")
def test_a_search_passes_over_settings_without_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: Any, **__: Any) -> Callable[[Any], Any]:
        def measured(intervention: DLEAF | None) -> Any:
            silent = intervention is not None and intervention.gamma > 0.5
            return {"chair_i": float("nan") if silent else 0.3, "recall": 0.0 if silent else 0.8}, 0

        return measured

    monkeypatch.setattr(tuning, "_measure", measure)
    found = tune(None, DLEAF, images(), space={"gamma": (0.0, 1.0)}, trials=12, words=WORDS, max_loss={})
    assert len(found.trials) == 12
    assert found.best.scores["chair_i"] == 0.3


def test_every_score_has_a_direction_or_none() -> None:
    scores = {name for formulas in SCORES.values() for name in formulas}
    assert scores - set(DIRECTIONS) == {"mean_words", "mentions", "yes_rate"}
    assert set(DIRECTIONS) <= scores


def test_the_bundled_model_is_tuned_through_generate() -> None:
    found = tune(load("tiny"), CLVA, scenes("tune", n=2), trials=1, max_new_tokens=8, max_loss={"recall": 1.0})
    assert found.best.edited > 0
    assert set(found.plain) == set(SCORES["chair"])


@pytest.mark.parametrize(("name", "score"), [("tiny-pope", "accuracy"), ("tiny-chair", "recall")])
def test_a_data_set_is_tuned_by_its_own_metric(name: Bundled, score: str) -> None:
    model, data = load("tiny"), bundled_dataset(name, n=1)
    found = tune(model, DLEAF, data, trials=2, space={"gamma": (0.9, 1.0)}, score=score, max_loss={})
    for one in (*found.trials, None):
        stack = () if one is None else (one.intervention,)
        result = evaluate(model, data, stack, resamples=100)
        assert (found.plain if one is None else one.scores) == pytest.approx(list(result.scores.values())[len(stack)])
    assert found.best.scores[score] == max(one.scores[score] for one in found.trials)


@pytest.mark.usefixtures("ruled")
@pytest.mark.usefixtures("unchecked_shapes")
def test_examples_are_pairs_or_objects() -> None:
    pair = ("a.png", {"dog"})
    assert list(known_images([pair, *images(1)])) == [pair, (None, frozenset({"dog"}))]
    wrong: Any
    for wrong in (3, ("a.png", "dog"), ("a.png",)):
        with pytest.raises(
            EvaluationError, match=r"tune an intervention: got example 1, .*; expected: pairs \(image, names"
        ):
            tune(None, "dleaf", [pair, wrong])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"space": {"beta": (0.3, 0.0)}}, r"space=\{'beta': \(0.3, 0.0\)\}; expected: \(low, high\)"),
        ({"space": {"beta": (0.0, float("inf"))}}, "two finite numbers"),
        ({"space": {"beta": []}}, "or a list of choices"),
        ({"space": {"beta": 0.3}}, "or a list of choices"),
        ({"space": {"nope": (0.1, 0.2)}}, "parameter 'nope' of CLVA"),
        ({"fixed": {"nope": 1}}, "parameter 'nope' of CLVA"),
        ({"space": {"beta": (0.1, 0.2)}, "fixed": {"beta": 0.1}}, "beta in space= and fixed="),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(EvaluationError, match=expected):
        tune(load("tiny", check=False), CLVA, scenes("neutral", n=1), trials=1, **options)


def test_a_method_without_its_parameters_is_refused() -> None:
    model = load("tiny", check=False)
    with pytest.raises(EvaluationError, match="expected: a value for each parameter without a default"):
        tune(model, "steering", scenes("neutral", n=1), trials=1)
    with pytest.raises(EvaluationError, match="pass its class"):
        tune(model, DLEAF(), scenes("neutral", n=1), trials=1)  # type: ignore[arg-type]


def test_what_cannot_be_tuned_is_refused() -> None:
    with pytest.raises(EvaluationError, match="0 images"):
        tune(None, "DLEAF", [])
    with pytest.raises(EvaluationError, match="score 'mean_words' for chair; expected: chair_i, chair_s, recall"):
        tune(None, "DLEAF", images(), words=WORDS, score="mean_words")
    with pytest.raises(EvaluationError, match="score 'accuracy' for chair"):
        tune(None, "DLEAF", images(), words=WORDS, max_loss={"accuracy": 0.1})
    wrong: Any
    for wrong in (-0.1, float("nan"), True, "0.1"):
        with pytest.raises(EvaluationError, match=r"max_loss=.*numbers from 0"):
            tune(None, "DLEAF", images(), words=WORDS, max_loss={"recall": wrong})
    with pytest.raises(EvaluationError, match="words= with a data set"):
        tune(None, "DLEAF", bundled_dataset("tiny-chair", n=1), words=WORDS)
    with pytest.raises(EvaluationError, match="0 parameters to vary"):
        tune(None, "DLEAF", images(), space={}, words=WORDS)
    with pytest.raises(EvaluationError, match="0 trials"):
        tune(None, "DLEAF", images(), trials=0, words=WORDS)
    with pytest.raises(InterventionError, match="'NoSuch'"):
        tune(None, "NoSuch", images(), words=WORDS)
