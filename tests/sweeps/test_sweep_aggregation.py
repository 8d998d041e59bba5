"""`aggregate` and the papers' figures from a sweep's folder: the numbers of the traces themselves."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvlmscope as lv
from lvlmscope import plot
from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import Dataset, bundled_dataset, label_words
from lvlmscope.evaluation import paper_figures as published
from lvlmscope.evaluation.metrics import ranking

SIGNALS = ["log_prob", "layer_image_entropy", "image_attention_focus", "r_neg", "r_pos", "sensitive_head_entropy"]
QUICK: dict[str, Any] = {"resamples": 50}
PARTS = ("mean", "spread", "count", "traces", "low", "high")


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return bundled_dataset("tiny-chair", n=2)


@pytest.fixture(scope="module")
def swept(model: lv.LoadedModel, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> lv.Sweep:
    folder = tmp_path_factory.mktemp("swept")
    options: dict[str, Any] = {"part_size": 4, "batch_size": 1, "max_new_tokens": 12, "progress": False}
    return lv.sweep(model, data, folder, signals=SIGNALS, **options)


@pytest.fixture(scope="module")
def traces(model: lv.LoadedModel, data: Dataset) -> list[lv.Trace]:
    images = [item.open() for item in data.items]
    prompt = "Describe the image."
    return [lv.trace(model, image, prompt, max_new_tokens=12, progress=False) for image in images]


@pytest.mark.parametrize("by", [("layer", "word"), ("word",), ("category",), ("layer", "word", "category")])
@pytest.mark.parametrize("signal", ["layer_image_entropy", "image_attention_focus"])
def test_a_sweep_gives_what_its_traces_give(
    swept: lv.Sweep, traces: list[lv.Trace], data: Dataset, by: Any, signal: str
) -> None:
    labels = [
        label_words(trace, item.objects or (), data.vocabulary) for trace, item in zip(traces, data.items, strict=True)
    ]
    expected = lv.aggregate(traces, signal, by=by, labels=labels, **QUICK)
    found = lv.aggregate(swept, signal, by=by, **QUICK)
    assert found.sizes == expected.sizes
    assert found.attrs == expected.attrs
    for part in PARTS:
        got = found[part].transpose(*expected[part].dims)
        np.testing.assert_allclose(got, expected[part], rtol=1e-5, atol=1e-6, err_msg=part)


def test_spans_of_a_model_that_thinks(model: lv.LoadedModel, data: Dataset, tmp_path: Path) -> None:
    processor = copy.copy(model.processor)
    processor.chat_template = model.processor.chat_template + "{# The </image> #}"
    # What it says after "The" and before "image" stands for what a model thinks
    processor.tokenizer = copy.copy(model.processor.tokenizer)
    processor.tokenizer.response_template = {"fields": {"thinking": {"open": "The", "close": "shows"}}}
    thinking = lv.LoadedModel(model=model.model, processor=processor, name=model.name, family=model.family)
    options: dict[str, Any] = {"part_size": 4, "batch_size": 1, "max_new_tokens": 8, "progress": False}
    few = replace(data, items=data.items[:2])
    swept = lv.sweep(thinking, few, tmp_path, signals=["log_prob"], **options)
    rows = swept.words.to_table().to_pylist()
    assert [row["text"] for row in rows if row["span"] == "thinking"] == ["image"] * 2
    found = lv.aggregate(swept, "log_prob", by="span", **QUICK)
    assert found["count"].sel(span=["thinking", "marker"]).values.tolist() == [2, 4]
    own = [row["log_prob"] for row in rows if row["span"] == "answer"]
    assert found["mean"].sel(span="answer").item() == pytest.approx(np.mean(own), abs=1e-6)


def test_without_classes_a_reading_is_a_word(swept: lv.Sweep) -> None:
    rows = swept.words.to_table().to_pylist()
    found = lv.aggregate(swept.folder, "log_prob", by=(), **QUICK)
    assert found["count"].item() == len(rows)
    assert found["mean"].item() == pytest.approx(np.mean([row["log_prob"] for row in rows]), abs=1e-6)
    assert found["traces"].item() == len({row["item_id"] for row in rows})
    assert found["low"].item() < found["mean"].item() < found["high"].item()


def test_draws_in_blocks_have_the_mean_and_an_interval_alike(swept: lv.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"by": (), "resamples": 400}
    whole = lv.aggregate(swept, "log_prob", **options)
    monkeypatch.setattr(ranking, "_BLOCK", 60)  # ten draws of six images
    blocks = lv.aggregate(swept, "log_prob", **options)
    assert blocks["mean"].item() == whole["mean"].item()
    width = float(whole["high"] - whole["low"])
    for end in ("low", "high"):
        assert blocks[end].item() == pytest.approx(whole[end].item(), abs=0.2 * width)
        assert blocks[end].item() != whole[end].item()  # blocks have seeds of their own


def test_the_papers_figures_are_drawn_from_the_folder(swept: lv.Sweep) -> None:
    curves = published.pearson_by_layer(swept, **QUICK)
    assert curves["mean"].dims == ("anchor", "layer")
    rows = np.array([row["r_pos"] for row in swept.words.to_table().to_pylist()])
    np.testing.assert_allclose(curves["mean"].sel(anchor="r_pos"), np.nanmean(rows, 0), rtol=1e-6)
    figure = plot.layers({"entropy": published.entropy_by_layer(swept, **QUICK), "r": curves})
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["r_neg", "r_pos"]
    classes = plot.layers(published.entropy_by_word(swept, **QUICK)).axes[0]
    assert classes.lines[0].get_label() == "grounded words"
    assert "(nats" in classes.get_ylabel()


def test_what_a_sweep_does_not_hold_is_refused(swept: lv.Sweep, model: lv.LoadedModel, tmp_path: Path) -> None:
    cases: list[tuple[Any, Any, str]] = [
        ("layer_image_entropy", {"by": ("layer", "head")}, "no heads; leave head out"),
        ("log_prob", {"by": "layer"}, "leave layer out"),
        ("margin", {"by": ()}, "margin, which the sweep did not read"),
        (lambda trace: trace, {"by": ()}, "got function of a sweep; expected: the name of a signal"),
        ("log_prob", {"by": "word", "labels": []}, "a sweep's folder with labels"),
        ("log_prob", {"by": (), "tokens": "mean"}, "tokens='mean' of a sweep that read 'first'"),
    ]
    for signal, options, words in cases:
        with pytest.raises(EvaluationError, match=words):
            lv.aggregate(swept, signal, **options)
    with pytest.raises(EvaluationError, match="a folder that lvlmscope sweep wrote"):
        lv.aggregate(tmp_path, "log_prob", by=())
    unlabelled = bundled_dataset("tiny-pope", n=1)
    folder = lv.sweep(model, unlabelled, tmp_path / "pope", signals=["log_prob"], max_new_tokens=4, progress=False)
    assert lv.aggregate(folder, "log_prob", by=(), **QUICK)["count"].item() > 0
    with pytest.raises(EvaluationError, match="without such words"):
        lv.aggregate(folder, "log_prob", by="word")
