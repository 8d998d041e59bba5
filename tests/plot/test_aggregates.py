"""Figures of many traces: what `aggregate` gives, drawn as the papers draw it."""

import functools

import numpy as np
import pytest
import xarray as xr

import lvlmscope as lv
from lvlmscope import plot
from lvlmscope.diagnostics import layer_correlation, planted_trace
from lvlmscope.errors import ModelInputError, ShapeError
from lvlmscope.evaluation import Vocabulary, label_words
from lvlmscope.evaluation import paper_figures as published
from tests.support.drawn_figures import texts_outside

QUICK = {"resamples": 20}


@functools.cache
def traces():
    return tuple(planted_trace(mass=mass, patch=7, layers=8, salient="previous") for mass in (0.2, 0.4, 0.6))


def labels():
    vocabulary = Vocabulary({"dog": ["word1"], "cat": ["word2"]})
    return [label_words(trace, {"dog"}, vocabulary) for trace in traces()]


def test_attention_by_head_is_a_heatmap():  # CLVA, figure 1
    figure = plot.heatmap(published.image_attention_by_head(traces(), **QUICK))
    assert np.allclose(figure.axes[0].images[0].get_array(), 0.4)
    assert figure.axes[0].get_title(loc="left") == "Image attention focus, mean over 3 traces"
    assert plot.heatmap(published.image_attention_by_head(traces(), **QUICK), backend="plotly").data[0].z[0][
        0
    ] == pytest.approx(0.4)


def test_the_numbers_over_image_attention_are_those_of_the_text():  # CLVA, figure 1
    image = published.image_attention_by_head(traces(), **QUICK)
    parts = {of: published.text_attention_by_head(traces(), of, **QUICK) for of in ("system", "question")}
    for of, found in parts.items():
        keys = [trace.layout.keys_of(of) for trace in traces()]
        shares = [
            trace.attention[..., own].sum(-1).mean((0, 1, 2)).item() for trace, own in zip(traces(), keys, strict=True)
        ]
        assert found["mean"].mean().item() == pytest.approx(np.mean(shares), abs=1e-6)
    assert parts["question"]["mean"].values.max() > 0
    figure = plot.heatmap(image, numbers=parts["question"])
    assert np.allclose(figure.axes[0].images[0].get_array(), 0.4)
    written = [float(text.get_text()) for text in figure.axes[0].texts]
    np.testing.assert_allclose(written, parts["question"]["mean"].values.ravel(), atol=0.06)
    assert "numbers: question text attention" in " ".join(figure.axes[0].get_xlabel().split())
    assert texts_outside(figure) == []
    with pytest.raises(ShapeError, match="numbers of 8 x 1 layers x heads"):
        plot.heatmap(image, numbers=parts["question"].isel(head=[0]))
    with pytest.raises(ModelInputError, match="backend='plotly' and numbers of a second signal"):
        plot.heatmap(image, numbers=parts["question"], backend="plotly")


def test_entropy_and_both_pearson_curves_are_drawn_with_their_interval():  # CLVA, figure 2
    found = {
        "entropy": published.entropy_by_layer(traces(), **QUICK),
        "r": published.pearson_by_layer(traces(), **QUICK),
    }
    figure = plot.layers(found)
    assert [axes.get_ylabel() for axes in figure.axes] == ["entropy", "r"]
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["r_neg", "r_pos"]
    note = figure.axes[0].get_title(loc="right").replace("\n", " ")
    assert "mean over 3 traces (fewer than 10: intervals too narrow); band: 95 % interval" in note
    assert texts_outside(figure) == []


def test_the_band_is_the_interval():
    found = lv.aggregate(traces(), "image_attention_focus", by="layer", **QUICK)
    band = plot.layers(found).axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(float(found["low"].min()))
    assert band.max() == pytest.approx(float(found["high"].max()))
    hovering = plot.layers(found, backend="plotly")
    assert hovering.data[0].y[0] == pytest.approx(float(found["high"][0]))


def test_entropy_by_class_has_the_colours_of_the_classes():  # D-LEAF, figure 5
    figure = plot.layers(published.entropy_by_word(traces(), labels(), **QUICK))
    assert [line.get_label() for line in figure.axes[0].lines] == [
        "grounded words",
        "hallucinated words",
        "other words",
    ]
    assert [line.get_color() for line in figure.axes[0].lines[:2]] == ["#009E73", "#D55E00"]


def test_flagged_heads_by_layer_are_drawn():  # D-LEAF, figure 3
    figure = plot.layers(published.abnormal_heads_by_layer(traces(), **QUICK))
    assert "(heads)" in figure.axes[0].get_ylabel()


def test_saliency_by_class_is_a_point_with_a_bar():  # LVLMs-Saliency, table 4
    found = published.saliency_by_word(traces(), labels(), **QUICK)
    figure = plot.distribution(found)
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == [
        "grounded\n3 words",
        "hallucinated\n3 words",
        "other words\n0 words",
    ]  # the first word has none before it
    assert [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"] == [
        float(found["mean"].sel(word="grounded"))
    ]
    note = "mean over 3 traces (fewer than 10: intervals too narrow); bars: 95 % interval"
    assert note in figure.axes[0].get_xlabel().replace("\n", " ")
    with pytest.raises(ModelInputError, match="got an aggregate and signal=, hallucinated= or grounded="):
        plot.distribution(found, hallucinated=[0])
    drawn = plot.distribution(found, backend="plotly").data
    assert [one.y[0] for one in drawn] == found["mean"][:2].values.tolist()  # no point for a class without words


def test_correlation_over_many_traces():
    figure = plot.correlation(lv.aggregate(traces(), layer_correlation, by="layer", **QUICK))
    assert figure.axes[0].get_title(loc="left") == "Layer correlation, mean over 3 traces"


def test_one_trace_has_no_interval_and_says_so():
    found = lv.aggregate(traces()[:1], "image_attention_focus", by="layer", **QUICK)
    assert "mean over 1 trace; no interval" in plot.layers(found).axes[0].get_title(loc="right")


@pytest.mark.parametrize("draw", [plot.heatmap, plot.layers, plot.correlation, plot.distribution])
def test_aggregates_of_other_axes_and_other_datasets_are_refused(draw):
    by_head = lv.aggregate(traces(), "image_attention_focus", by="head", **QUICK)
    with pytest.raises(ShapeError, match="got "):
        draw(by_head)
    with pytest.raises(ShapeError, match="got "):
        draw(xr.Dataset({"layer": [1.0]}))
