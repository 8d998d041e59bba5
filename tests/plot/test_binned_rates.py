"""The share of hallucinated words in bins of a signal, drawn."""

import numpy as np
import pytest

from lvlmscope import plot
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ShapeError
from lvlmscope.evaluation import Vocabulary, label_words, rate_by_bin
from tests.support.drawn_figures import texts_outside


def binned(masses=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), bins=4):
    """Two object words in each trace, hallucinated in the first three traces."""
    traces = [planted_trace(mass=mass, sink=0.0) for mass in masses]
    words = Vocabulary({"dog": ["word1"], "cat": ["word2"]})
    labels = [label_words(trace, {"dog", "cat"} if n >= 3 else (), words) for n, trace in enumerate(traces)]
    return rate_by_bin(traces, "image_attention_focus", labels, bins=bins, resamples=100)


@pytest.mark.parametrize("width", [5.0, 3.0])
def test_points_are_the_rates_with_their_intervals(width):
    found = binned()
    figure = plot.rates(found, width=width)
    line = figure.axes[0].containers[0][0]
    np.testing.assert_allclose(line.get_xdata(), found["centre"])
    np.testing.assert_allclose(line.get_ydata(), found["rate"])
    ends = np.array([segment[:, 1] for segment in figure.axes[0].containers[0][2][0].get_segments()])
    np.testing.assert_allclose(ends, np.stack([found["low"], found["high"]], -1))
    assert "16 object words in 4 bins; bars: 95 % interval" in " ".join(figure.axes[0].get_xlabel().split())
    assert texts_outside(figure) == []


def test_plotly_shows_the_same_on_hover():
    found = binned()
    (drawn,) = plot.rates(found, backend="plotly").data
    assert list(drawn.y) == found["rate"].values.tolist()
    assert [text.split(" around")[0] for text in drawn.text] == ["4 words"] * 4
    for wrong in (found.drop_vars("rate"), found.isel(bin=[])):
        with pytest.raises(ShapeError, match="expected: what rate_by_bin gives"):
            plot.rates(wrong)
