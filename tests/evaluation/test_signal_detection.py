"""Signals as detectors: twins, a planted signal that is found and noise that is not, folds, tables, bad input."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope.errors import EvaluationError, ModelInputError
from lvlmscope.evaluation import Detection, label_words, score_signals
from lvlmscope.evaluation.cross_validation import best_layer_scores, fold_of
from lvlmscope.evaluation.metrics.ranking import auroc, average_precision, estimate, resampled_weights
from lvlmscope.evaluation.signal_detection import BAR, BOTH, INNER, detect
from lvlmscope.evaluation.signal_registry import SIGNALS
from lvlmscope.evaluation.word_table import read_words
from lvlmscope.traces.word_values import at_words
from tests.reference import detection as twin
from tests.support.labelled_traces import LAYERS, WORDS, labels_of, made
from tests.support.random_traces import blind

FEW = {"resamples": 200}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=20))
def test_areas_equal_their_twins(items: list[tuple[int, bool]]) -> None:
    values, positive = [float(v) for v, _ in items], [p for _, p in items]
    arrays = np.array(values), np.array(positive), np.ones((1, len(items)))
    expected = twin.auroc(values, positive)
    np.testing.assert_allclose(auroc(*arrays)[0], expected, equal_nan=True)
    if any(positive):
        assert average_precision(*arrays)[0] == pytest.approx(twin.average_precision(values, positive))
    flipped = auroc(-arrays[0], arrays[1], arrays[2])[0]
    np.testing.assert_allclose(flipped, 1 - expected, equal_nan=True)


def test_weighted_areas_are_those_of_repeated_items() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(6), 3)
    values, positive = rng.integers(0, 8, 18).astype(float), rng.random(18) < 0.4
    weights = resampled_weights(groups, resamples=20, seed=3)
    assert weights[0].tolist() == [1.0] * 18
    found = auroc(values, positive, weights), average_precision(values, positive, weights)
    for row, counted in enumerate(weights):
        counts = [int(counted[groups == g][0]) for g in range(6)]
        v, p = (twin.repeated(list(x), groups.tolist(), counts) for x in (values, positive))
        np.testing.assert_allclose(found[0][row], twin.auroc(v, p), equal_nan=True)
        if any(p):
            np.testing.assert_allclose(found[1][row], twin.average_precision(v, p))
    interval = estimate(found[0], 0.9)
    drawn = [x for x in found[0][1:].tolist() if not math.isnan(x)]
    assert interval.low == pytest.approx(twin.percentile(drawn, 0.05))
    assert interval.high == pytest.approx(twin.percentile(drawn, 0.95))


def test_out_of_fold_scores_equal_their_twin() -> None:
    rng = np.random.default_rng(2)
    values, hallucinated = rng.random((30, 3)).round(1), rng.random(30) < 0.5
    values[:, 1] -= 0.5 * hallucinated
    fold = fold_of(np.arange(30) // 2, hallucinated, folds=3, seed=0)
    found = best_layer_scores(values, hallucinated, fold)
    np.testing.assert_allclose(
        found.scores, twin.best_layer_scores(values.tolist(), hallucinated.tolist(), fold.tolist())
    )
    assert found.layers == (1, 1, 1)
    assert found.direction == "lower"


def test_folds_keep_traces_together_and_are_even() -> None:
    groups = np.repeat(np.arange(11), 2)
    fold = fold_of(groups, np.arange(22) % 2 == 0, folds=4, seed=5)
    assert all(len(set(fold[groups == g])) == 1 for g in range(11))
    assert sorted(np.bincount(fold).tolist()) == [4, 6, 6, 6]


def test_a_planted_signal_is_found_at_its_layer_and_noise_is_not() -> None:
    traces = made(40, focus=lambda hallucinated: 0.2 if hallucinated else 0.8)
    labels = [tuple(word for word in words if word.text == "word1") for words in labels_of(traces)]
    found = score_signals(traces, labels, **FEW)
    planted = found["image_attention_focus"]
    assert planted.auroc.value == planted.auroc.low == planted.average_precision.value == 1.0
    assert planted.layers == (1,) * 5
    assert planted.direction == "lower"
    assert planted.separates
    assert found.by_layer["auroc"].sel(signal="image_attention_focus", layer=1) == 0.0
    assert not found["log_prob"].separates
    assert found["position"].auroc.value == 0.5
    assert found[INNER].auroc.value == 1.0
    assert found[BOTH].gain is not None
    assert found[BOTH].gain.low > 0
    assert found[BAR].gain is None
    assert (found.words, found.hallucinated, found.traces) == (40, 20, 40)


def test_noise_does_not_separate_and_the_table_says_so() -> None:
    traces = made(60, seed=4)
    found = score_signals((t for t in traces), (w for w in labels_of(traces)), **FEW)
    separating = sum(row.separates for row in found.rows)
    assert separating <= 1  # of 95 % intervals one in twenty is off by chance
    assert found.words == 120
    assert repr(found).startswith("120 object words of 60 answers, 60 hallucinated (50%); left out: ")
    assert found.to_markdown().count("| no |") == len(found.rows) - separating
    assert found._repr_html_().count("<tr>") == len(found.rows) + 1
    frame = found.to_pandas()
    assert list(frame.index) == [row.name for row in found.rows]
    assert frame.loc["log_prob", "auroc"] == found["log_prob"].auroc.value
    told = json.loads(json.dumps(found.to_json()))
    assert len(told["auroc_by_layer"]["layer_image_entropy"]) == LAYERS


def test_settings_change_what_they_say() -> None:
    traces = made(40, seed=6)
    labels = labels_of(traces)

    def measured(**options: object) -> Detection:
        return score_signals(traces, labels, signals=["log_prob"], **(FEW | options))

    plain = measured()["log_prob"].auroc
    assert plain == measured()["log_prob"].auroc
    assert measured(seed=1)["log_prob"].auroc.low != plain.low
    narrow = measured(level=0.5)["log_prob"].auroc
    assert plain.low < narrow.low < narrow.high < plain.high
    assert measured(folds=2)["log_prob"].auroc.value != plain.value
    assert measured(tokens="mean").settings["tokens"] == "mean"


def test_few_words_and_detectors_below_chance_are_remarked_upon() -> None:
    traces = made(12, seed=4)
    few = score_signals(traces, labels_of(traces), **FEW)
    assert "few words: 12 hallucinated and 12 grounded ones. With fewer than 20 of either" in repr(few)
    assert "few words: 12 hallucinated" in few._repr_html_()
    traces = made(60, seed=4)
    many = score_signals(traces, labels_of(traces), **FEW)
    assert "few words" not in repr(many)
    below = [row.name for row in many.rows if row.auroc.value < 0.5]
    assert below
    note = repr(many).splitlines()[-1]
    assert note.startswith("below 0.5: ")
    assert note.removeprefix("below 0.5: ").partition(". ")[0].split("; ") == below


def test_first_and_mean_tokens() -> None:
    trace = made(1)[0]
    log_probs = trace.log_probs.tolist()
    array = SIGNALS["log_prob"].read(trace)
    assert at_words(array, [(1, 2)], "first")[0, 0] == pytest.approx(log_probs[1])
    assert at_words(array, [(1, 2)], "mean")[0, 0] == pytest.approx(sum(log_probs[1:3]) / 2)


def test_values_that_are_missing_are_counted_out() -> None:
    traces = made(30, seed=7)
    blind = [dataclasses.replace(t, attention=t.attention.where(~t.image_keys, 0.0)) for t in traces[:4]]
    found = score_signals(blind + traces[4:], labels_of(traces), signals=["layer_image_entropy", "log_prob"], **FEW)
    assert found["layer_image_entropy"].words == 52
    assert found["log_prob"].words == 60


def test_signals_that_the_traces_cannot_give_are_named() -> None:
    traces = made(20)
    text_only = [blind(t) for t in traces]
    found = score_signals(text_only, labels_of(traces), **FEW)
    assert "image_attention_focus (no image keys)" in found.left_out
    assert "left out" in repr(found)
    with pytest.raises(EvaluationError, match="read layer_image_entropy at words: got a trace without image keys"):
        score_signals(text_only, labels_of(traces), signals=["layer_image_entropy"])
    assert "internal_confidence (no model)" in score_signals(traces, labels_of(traces), **FEW).left_out
    with pytest.raises(EvaluationError, match=r"read internal_confidence at words: got no model.*pass model="):
        score_signals(traces, labels_of(traces), signals=["internal_confidence"])


def test_bad_input_is_refused() -> None:
    traces = made(12)
    labels = labels_of(traces)
    with pytest.raises(EvaluationError, match="12 traces and more labels"):
        score_signals(traces, [*labels, labels[0]])
    with pytest.raises(EvaluationError, match="11 labels and more traces"):
        score_signals(traces, labels[:11])
    with pytest.raises(EvaluationError, match=r"got 'nonsense'; expected: .*position"):
        score_signals(traces, labels, signals=["nonsense"])
    with pytest.raises(EvaluationError, match="no signal at all"):
        score_signals(traces, labels, signals=[])
    with pytest.raises(EvaluationError, match="no object word"):
        score_signals(traces, [()] * 12)
    with pytest.raises(EvaluationError, match="0 hallucinated and 24 grounded words in 12 traces"):
        score_signals(traces, [label_words(t, {"dog", "cat"}, WORDS) for t in traces])
    table = read_words(traces, labels, signals=["log_prob"])
    for wrong in ({"folds": 1}, {"resamples": 0}, {"level": 0.0}, {"level": 1.0}):
        (name,) = wrong
        with pytest.raises(ModelInputError, match=f"call score_signals: got {name}={wrong[name]}; expected: "):
            score_signals(iter(()), labels, **wrong)  # refused before a trace is read
        with pytest.raises(ModelInputError, match=f"call detect: got {name}={wrong[name]}; expected: "):
            detect(table, **wrong)
    with pytest.raises(EvaluationError, match="in 3 traces"):
        score_signals(traces[:3], labels[:3])
    other = dataclasses.replace(traces[1], layer_indices=(4, 5, 6))
    with pytest.raises(EvaluationError, match=r"layers \(0, 1, 2\) and \(4, 5, 6\)"):
        read_words([traces[0], other], labels[:2])
    with pytest.raises(EvaluationError, match="read a detector: got 'speed'"):
        score_signals(traces, labels, **FEW)["speed"]
