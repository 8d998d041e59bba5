"""Hallucinated words by bin of a signal: counted by hand, and what cannot be counted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import Vocabulary, bundled_dataset, label_words, rate_by_bin

WORDS = Vocabulary({"dog": ["word1"], "cat": ["word2"]})
SIGNAL = "image_attention_focus"


def planted(masses=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), right=4):
    """One trace for each mass of two object words; in the first `right` both are hallucinated."""
    traces = [planted_trace(mass=mass, sink=0.0, layers=3) for mass in masses]
    labels = [label_words(trace, {"dog", "cat"} if n >= right else (), WORDS) for n, trace in enumerate(traces)]
    return traces, labels


def test_rates_are_counted_in_bins_of_as_many_words():
    traces, labels = planted(right=3)
    found = rate_by_bin(traces, SIGNAL, labels, bins=4, resamples=100)
    assert found["rate"].values.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert found["count"].values.tolist() == [4, 4, 4, 4]
    np.testing.assert_allclose(found["centre"], [0.15, 0.35, 0.55, 0.75], atol=1e-6)
    np.testing.assert_allclose(found["least"], [0.1, 0.3, 0.5, 0.7], atol=1e-6)
    np.testing.assert_allclose(found["greatest"], [0.2, 0.4, 0.6, 0.8], atol=1e-6)
    assert (found["low"] <= found["rate"]).all()
    assert float(found["high"][1] - found["low"][1]) > 0.5  # one trace of the two is wrong


def test_words_of_one_value_are_in_one_bin_and_undefined_ones_in_none():
    traces, labels = planted((0.4,) * 6, right=3)
    whole = rate_by_bin(traces, SIGNAL, labels, bins=5, resamples=100)
    assert whole["count"].values.tolist() == [12]
    assert whole["rate"].values.tolist() == [0.5]
    blank = dataclasses.replace(traces[0], attention=torch.full_like(traces[0].attention, torch.nan))
    part = rate_by_bin([blank, *traces[1:]], SIGNAL, labels, bins=5, resamples=100)
    assert part["count"].values.tolist() == [10]
    with pytest.raises(EvaluationError, match="no object word with a value"):
        rate_by_bin([blank], SIGNAL, labels[:1], resamples=100)


def test_the_value_is_the_mean_over_the_layers_asked_for():
    traces, labels = planted()
    layered = [
        dataclasses.replace(trace, attention=torch.cat([trace.attention[:, :2], traces[0].attention[:, 2:]], 1))
        for trace in traces
    ]
    own = rate_by_bin(layered, SIGNAL, labels, bins=4, layers=[0, 1], resamples=100)
    assert own["rate"].values.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert rate_by_bin(layered, SIGNAL, labels, bins=4, layers=[2], resamples=100)["count"].values.tolist() == [16]
    for wrong, words in (([7], r"layers \[7\]"), ([], "no layer")):
        with pytest.raises(EvaluationError, match=words):
            rate_by_bin(traces, SIGNAL, labels, layers=wrong)


def test_a_sweep_gives_what_its_words_say(tmp_path: Path):
    model, data = lv.load("tiny", check=False), bundled_dataset("tiny-chair", n=3)
    swept = lv.sweep(model, data, tmp_path, signals=["log_prob"], max_new_tokens=24, progress=False)
    words = swept.words.to_table().to_pandas()
    words = words[words["label"].isin(["grounded", "hallucinated"])]
    found = rate_by_bin(swept, "log_prob", bins=3, resamples=100)
    for place in range(found.sizes["bin"]):
        one = found.isel(bin=place)
        inside = words[(words["log_prob"] >= one["least"].item()) & (words["log_prob"] <= one["greatest"].item())]
        assert len(inside) == one["count"].item()
        assert (inside["label"] == "hallucinated").mean() == pytest.approx(one["rate"].item())
    for traces, labels in ((swept, []), ([], None)):
        with pytest.raises(EvaluationError, match="expected: labels with traces alone"):
            rate_by_bin(traces, "log_prob", labels)
