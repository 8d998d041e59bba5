"""Both backends draw the same description: titles, axis titles, words of ticks, values and colour ranges agree."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lvlmscope import plot
from lvlmscope.diagnostics import anchor_correlation, layer_correlation, layer_image_entropy, saliency
from tests.plot.test_ablations import timed
from tests.plot.test_binned_rates import binned
from tests.support.drawn_figures import with_image
from tests.support.figure_parts import bar_labels, parts_of
from tests.support.random_traces import random_trace

TRACE = with_image(random_trace(5, steps=7, layers=4, heads=5, side=4))
OTHER = with_image(random_trace(6, steps=7, layers=4, heads=5, side=4))
MARKED = {"hallucinated": [1], "grounded": [0, 3]}
FIGURES: dict[str, Callable[..., Any]] = {
    "heatmap": lambda **o: plot.heatmap(TRACE, **o),
    "heatmap in order": lambda **o: plot.heatmap(TRACE, order="value", **o),
    "compare": lambda **o: plot.compare(TRACE, OTHER, **o),
    "compare on a telephone": lambda **o: plot.compare(TRACE, OTHER, width=3.6, **o),
    "correlation": lambda **o: plot.correlation(layer_correlation(TRACE), **o),
    "saliency_matrix": lambda **o: plot.saliency_matrix(TRACE, saliency(TRACE), **o),
    "saliency_matrix on one scale": lambda **o: plot.saliency_matrix(TRACE, saliency(TRACE), scale="shared", **o),
    "timeline": lambda **o: plot.timeline(TRACE, **MARKED, **o),
    "layers": lambda **o: plot.layers([layer_image_entropy(TRACE), anchor_correlation(TRACE)], **o),
    "distribution": lambda **o: plot.distribution(TRACE, **MARKED, **o),
    "windows": lambda **o: plot.windows(knockout(), **o),
    "rates": lambda **o: plot.rates(binned(), **o),
    "ablation": lambda **o: plot.ablation(timed(3), **o),
}


def knockout() -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(3, 6))
    named = {"window": ["0-1", "1-2", "2-3"], "word": list("abcdef")}
    return xr.DataArray(values, dims=("window", "word"), coords=named, attrs={"long_name": "lost", "units": "nats"})


@pytest.mark.parametrize("name", FIGURES)
def test_panels_agree(name: str) -> None:
    figures = [FIGURES[name](backend=backend) for backend in ("matplotlib", "plotly")]
    left, right = (parts_of(figure) for figure in figures)
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        assert one == other
    assert bar_labels(figures[0]) == bar_labels(figures[1])


@pytest.mark.parametrize(
    "options",
    [{}, {"each": "layer"}, {"each": "head", "heads": [(3, 4), (0, 1)]}, {"scale": "shared", "cmap": "magma"}],
)
def test_maps_of_an_overlay_agree(options: dict[str, Any]) -> None:
    word = [0, 3] if not options or "cmap" in options else 0
    drawn = plot.overlay(TRACE, word, **options)
    left = parts_of(drawn)
    hovering = plot.overlay(TRACE, word, backend="plotly", **options)
    right = parts_of(hovering)
    assert [(one.values, one.colours) for one in left] == [(one.values, one.colours) for one in right]
    titles = [" ".join(axes.get_title(loc="left").split()) for axes in drawn.axes[:-1]]
    assert (
        titles
        == [" ".join(note.text.replace("<br>", " ").split()) for note in hovering.layout.annotations][: len(titles)]
    )
    label = " ".join(hovering.layout.coloraxis.colorbar.title.text.replace("<br>", " ").split())
    assert label == " ".join(drawn.axes[-1].get_xlabel().split())
    bar = hovering.layout.coloraxis
    assert (bar.cmin, bar.cmax) == pytest.approx(drawn.axes[-1].get_xlim())


def test_a_difference_is_seen() -> None:
    left, right = (parts_of(plot.heatmap(trace)) for trace in (TRACE, OTHER))
    assert left != right
