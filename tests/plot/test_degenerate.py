"""Every view of an empty trace, one layer and one head, and of nothing but undefined values: a note or a reason."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.text import Text

from lvlmscope import plot
from lvlmscope.diagnostics import anchor_correlation, layer_correlation, layer_image_entropy, planted_trace, saliency
from lvlmscope.errors import ModelInputError, ShapeError
from tests.plot.test_ablations import timed
from tests.plot.test_binned_rates import binned
from tests.plot.test_setting_maps import mapped
from tests.support.drawn_figures import texts_outside

VIEWS = {
    "heatmap": plot.heatmap,
    "heatmap in order": lambda t, **o: plot.heatmap(t, order="value", numbers=o == {}, **o),
    "overlay": lambda t, **o: plot.overlay(t, 0, **o),
    "overlay of layers": lambda t, **o: plot.overlay(t, 0, each="layer", contour=True, smoothing=0.5, **o),
    "overlay of all heads": lambda t, **o: plot.overlay(t, 0, each="layer_head", **o),
    "attending_words": lambda t, **o: plot.attending_words(t, patches=[(0, 0)], **o),
    "timeline": plot.timeline,
    "layers": lambda t, **o: plot.layers([layer_image_entropy(t), anchor_correlation(t)], **o),
    "saliency_matrix": lambda t, **o: plot.saliency_matrix(t, saliency(t), **o),
    "distribution": plot.distribution,
    "compare": lambda t, **o: plot.compare(t, t, **o),
    "windows": lambda t, **o: plot.windows(
        layer_image_entropy(t).rename(layer="window", step="word").drop_vars("token").assign_coords(word=["a"]), **o
    ),
    "correlation": lambda t, **o: plot.correlation(layer_correlation(t), **o),
    "ablation": lambda _, **o: plot.ablation(timed(1), **o),
    "setting_map": lambda _, **o: plot.setting_map(mapped(1, 1), **o),
    "rates": lambda _, **o: plot.rates(binned((0.2,), bins=2), **o),
}


def texts_of(figure) -> str:
    if hasattr(figure, "findobj"):
        found = figure.findobj(Text)
        return " ".join(text.get_text() for text in found)
    return figure.to_json()


@pytest.mark.parametrize("backend", ["matplotlib", "plotly"])
@pytest.mark.parametrize("name", VIEWS)
def test_one_layer_and_one_head(name, backend):
    trace = planted_trace(layers=1, heads=1, steps=1, patch=7, salient="previous")
    figure = VIEWS[name](trace, **({} if backend == "matplotlib" else {"backend": backend}))
    if backend == "matplotlib":
        assert texts_outside(figure) == []


@pytest.mark.parametrize("backend", ["matplotlib", "plotly"])
@pytest.mark.parametrize("name", ["heatmap", "overlay", "distribution", "compare", "timeline", "attending_words"])
def test_nothing_but_undefined_values_is_never_blank(name, backend):
    trace = planted_trace()
    trace = dataclasses.replace(
        trace, attention=torch.full_like(trace.attention, torch.nan), entropy=torch.full((3,), torch.nan)
    )
    figure = VIEWS[name](trace, **({} if backend == "matplotlib" else {"backend": backend}))
    assert "not defined" in texts_of(figure) or "? %" in texts_of(figure)


def emptied(trace):
    parts = ("attention", "answer_ids", "log_probs", "entropy", "margin", "top_ids", "top_log_probs")
    gone = {name: getattr(trace, name)[:0] for name in parts}
    return dataclasses.replace(trace, answer_tokens=(), answer="", gradient=None, **gone)


@pytest.mark.parametrize("name", ["heatmap", "overlay", "timeline", "distribution", "compare"])
def test_an_empty_answer_has_a_reason(name):
    with pytest.raises((ModelInputError, ShapeError), match=r"empty|at least one step|no step|none"):
        VIEWS[name](emptied(planted_trace(steps=1)))


@pytest.mark.parametrize("backend", ["matplotlib", "plotly"])
def test_undefined_values_in_part_are_told(backend):
    options = {} if backend == "matplotlib" else {"backend": backend}
    signal = xr.DataArray(np.array([1.0, np.nan, np.inf]), dims="step", attrs={"units": "nats"})
    for draw in (plot.timeline, plot.distribution):
        assert "not defined for 2 of 3 words" in texts_of(draw(planted_trace(), signal, **options))
    by_layer = xr.DataArray(np.array([1.0, np.nan]), dims="layer", attrs={"units": "nats"})
    assert "not defined for 1 of 2 layers" in texts_of(plot.layers(by_layer, **options))
