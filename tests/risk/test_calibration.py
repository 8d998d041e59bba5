"""Calibrations: quantiles against plain loops, ranks, probes, files, and bad input."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lvlmscope as lv
from lvlmscope.errors import EvaluationError, OutputError
from lvlmscope.evaluation import label_words
from lvlmscope.evaluation.word_table import WordTable, read_words
from lvlmscope.risk import Calibration, bundled_calibration, calibration_of
from lvlmscope.risk.calibration import SHARES, Probe, Reference
from lvlmscope.tiny import scenes
from tests.reference import detection as twin
from tests.support.labelled_traces import LAYERS, WORDS, labels_of, made


def table_of(count: int = 60, **options: object) -> WordTable:
    traces = made(count, focus=lambda hallucinated: 0.2 if hallucinated else 0.8)
    labels = [tuple(word for word in words if word.text == "word1") for words in labels_of(traces)]
    return read_words(traces, labels, **options)


@pytest.fixture(scope="module")
def planted() -> Calibration:
    return calibration_of(table_of(), model="planted", num_layers=LAYERS, num_heads=2, words=WORDS)


def test_quantiles_are_those_of_correct_words(planted: Calibration) -> None:
    table = table_of()
    for name in ("log_prob", "image_attention_focus"):
        for place, found in enumerate(planted.references[name].quantiles):
            correct = [float(v) for v, m in zip(table.values[name][:, place], table.hallucinated, strict=True) if not m]
            assert found == pytest.approx([twin.percentile(correct, share) for share in SHARES])
    focus = planted.references["image_attention_focus"]
    assert (focus.layers[focus.place], focus.direction, focus.separates) == (1, "lower", True)
    assert (planted.grounded_words, planted.hallucinated_words) == (30, 30)
    assert not planted.references["log_prob"].separates


def test_a_probe_takes_only_signals_that_separate(planted: Calibration) -> None:
    assert [probe.signals for probe in planted.probes] == [("image_attention_focus",)]
    probe = planted.probes[0]
    assert probe.risk({"image_attention_focus": 0.2}) > 0.8
    assert probe.risk({"image_attention_focus": 0.8}) < 0.2
    assert probe.risk({"image_attention_focus": math.nan}) == probe.risk({"image_attention_focus": probe.fill[0]})


def test_risk_is_the_logistic_of_the_standardised_values() -> None:
    probe = Probe(
        needs=(), signals=("a", "b"), centre=(1.0, 2.0), scale=(2.0, 0.5), fill=(9.0, 9.0), weights=(0.3, -1.0),
        intercept=-0.5,
    )  # fmt: skip
    odds = -0.5 + 0.3 * (4 - 1) / 2 - 1.0 * (2.25 - 2) / 0.5
    assert probe.risk({"a": 4.0, "b": 2.25}) == pytest.approx(1 / (1 + math.exp(-odds)))


def reference(*quantiles: float) -> Reference:
    return Reference(layers=(), quantiles=(quantiles,), place=0, direction="lower", auroc=0.7, low=0.6, high=0.8)


@given(st.lists(st.floats(-5, 5), min_size=len(SHARES), max_size=len(SHARES)), st.floats(-6, 6), st.floats(-6, 6))
def test_ranks_are_shares_that_rise_with_the_value(known: list[float], one: float, other: float) -> None:
    found = reference(*sorted(known))
    low, high = sorted((one, other))
    assert 0 <= found.rank(0, low) <= found.rank(0, high) <= 1


def test_ranks_at_quantiles_between_them_and_outside() -> None:
    found = reference(*(100 * share for share in SHARES))
    assert found.rank(0, 50.0) == pytest.approx(0.5)
    assert found.rank(0, 62.5) == pytest.approx(0.625)
    assert (found.rank(0, -1.0), found.rank(0, 200.0)) == (0.0, 1.0)
    assert math.isnan(found.rank(0, math.nan))
    assert found.band(0) == (5.0, 95.0)
    flat = reference(*[3.0] * len(SHARES))
    assert flat.rank(0, 3.0) == pytest.approx(np.mean(SHARES))
    assert math.isnan(reference(*[math.nan] * len(SHARES)).rank(0, 1.0))


def test_a_file_gives_the_same_calibration(planted: Calibration, tmp_path: Path) -> None:
    missing = dataclasses.replace(planted.references["log_prob"], quantiles=((math.nan,) * len(SHARES),))
    kept = dataclasses.replace(planted, references=planted.references | {"log_prob": missing}, made_with={"n": None})
    kept.save(tmp_path / "c.json")
    again = Calibration.load(tmp_path / "c.json")
    assert math.isnan(again.references["log_prob"].quantiles[0][0])
    assert dataclasses.replace(again, references={}) == dataclasses.replace(kept, references={})
    assert again.references["image_attention_focus"] == kept.references["image_attention_focus"]
    assert "NaN" not in (tmp_path / "c.json").read_text()
    assert again.vocabulary.mentions("word1")[0].category == "dog"


def test_files_that_are_none_are_refused(planted: Calibration, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        Calibration.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(EvaluationError, match="read a calibration"):
        Calibration.load(tmp_path / "broken.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(EvaluationError, match="another kind of file"):
        Calibration.load(tmp_path / "other.json")
    planted.save(tmp_path / "c.json")
    told = json.loads((tmp_path / "c.json").read_text()) | {"version": 99}
    (tmp_path / "c.json").write_text(json.dumps(told))
    with pytest.raises(EvaluationError, match="version 99"):
        Calibration.load(tmp_path / "c.json")
    with pytest.raises(OutputError, match="save a calibration"):
        planted.save(tmp_path / "none" / "c.json")


ALTERED = [
    (lambda f: [f], "which holds a list"),
    (lambda f: f | {"shares": [0.5]}, "version 1"),
    (lambda f: f | {"surprise": 1}, "a field surprise that is wrong"),
    (lambda f: {k: v for k, v in f.items() if k != "words"}, "a field words that is wrong"),
    (lambda f: f | {"num_layers": "3"}, "a field num_layers that is wrong"),
    (lambda f: f | {"tokens": "last"}, "a field tokens that is wrong"),
    (lambda f: f | {"references": {"x": {"layers": []}}}, "a field references.x.quantiles that is wrong"),
    (lambda f: with_reference(f, place=7), "rows of quantiles of log_prob"),
    (lambda f: with_reference(f, quantiles=[[0.0, 1.0]]), "rows of quantiles of log_prob"),
    (lambda f: with_reference(f, direction="up"), "direction that is wrong"),
    (lambda f: f | {"probes": [f["probes"][0] | {"weights": []}]}, "a probe of image_attention_focus whose parts"),
    (lambda f: f | {"probes": [f["probes"][0] | {"signals": ["other"]}]}, "a probe of other whose parts"),
]


def with_reference(fields: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return fields | {"references": fields["references"] | {"log_prob": fields["references"]["log_prob"] | changes}}


@pytest.mark.parametrize(("change", "text"), ALTERED)
def test_altered_files_are_named(planted: Calibration, tmp_path: Path, change: Any, text: str) -> None:
    planted.save(tmp_path / "c.json")
    (tmp_path / "c.json").write_text(json.dumps(change(json.loads((tmp_path / "c.json").read_text()))))
    with pytest.raises(EvaluationError, match=f"read a calibration: got .*{text}"):
        Calibration.load(tmp_path / "c.json")


def test_too_few_words_are_refused() -> None:
    sizes = {"model": "planted", "num_layers": LAYERS, "num_heads": 2, "words": WORDS}
    with pytest.raises(EvaluationError, match="10 correct words; expected: at least 20"):
        calibration_of(table_of(20), **sizes)
    assert calibration_of(table_of(40), **sizes).grounded_words == 20
    traces = made(40)
    truthful = [label_words(t, {"dog", "cat"}, WORDS) for t in traces]
    with pytest.raises(EvaluationError, match="0 hallucinated"):
        calibration_of(read_words(traces, truthful), **sizes)


def test_a_calibration_is_told_in_one_line(planted: Calibration) -> None:
    assert re.fullmatch(
        r"Calibration\('planted', 3 layers x 2 heads, \d+ true and \d+ hallucinated words, \d+ signals\)", repr(planted)
    )


def test_the_bundled_calibration_is_of_this_version() -> None:
    found = bundled_calibration()
    assert (found.model, found.num_layers, found.num_heads) == ("tiny", 8, 8)
    assert found.made_with["split"] == "tune"
    assert len(found.made_with["diagnostics_tree"]) == 40
    assert found.grounded_words > 1000
    assert found.references["internal_confidence"].separates
    assert len(found.vocabulary.categories) == 59


def test_calibrate_traces_examples_one_by_one(tmp_path: Path) -> None:
    model = lv.load("tiny")
    held: list[int] = []

    def examples():
        for number, one in enumerate([*scenes("prior", n=7), *scenes("neutral", n=10)]):
            held.append(number)
            yield one.image, one.present

    found = lv.calibrate(model, examples(), max_new_tokens=12, progress=False)
    assert held == list(range(17))
    assert (found.model, found.num_layers, found.num_heads) == ("tiny", 8, 8)
    assert found.made_with["examples"] == 17
    assert {"saliency_to_previous", "cosine_drift", "internal_confidence"} <= set(found.references)
    assert found.references["internal_confidence"].layers == (-1, 0, 1, 2, 3, 4, 5, 6, 7)
    assert any("model" in probe.needs for probe in found.probes)
    found.save(tmp_path / "c.json")
    scene = next(scenes("hard", n=1))
    trace = lv.trace(model, scene.image, "Describe the image.", max_new_tokens=8, progress=False)
    assert lv.diagnose(trace, Calibration.load(tmp_path / "c.json"), model=model).calibrated


def test_calibrate_refuses_no_examples_and_unknown_objects() -> None:
    model = lv.load("tiny")
    with pytest.raises(EvaluationError, match="no object word"):
        lv.calibrate(model, [], progress=False)
    with pytest.raises(EvaluationError, match=r"unknown objects \['unicorn'\]"):
        lv.calibrate(model, [(next(scenes("hard", n=1)).image, {"unicorn"})], max_new_tokens=2, progress=False)
