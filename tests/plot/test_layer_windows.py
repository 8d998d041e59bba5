"""The figure of a knockout: its lines and their names, in both backends, for words and windows of any number."""

import numpy as np
import pytest
import xarray as xr

from lvlmscope import plot
from lvlmscope.errors import ModelInputError, ShapeError
from tests.support.drawn_figures import overlapping_labels, texts_outside


def lost(values: np.ndarray, words: list[str]) -> xr.DataArray:
    """A knockout of one layer each `[window, word]`."""
    named = {"window": [f"{n}" for n in range(len(values))], "word": np.array(words, dtype=object)}
    steps = {"first_step": ("word", np.arange(len(words)))}
    attrs = {"long_name": "lost when cut", "units": "nats", "from_": "image", "to": "answer"}
    return xr.DataArray(values, dims=("window", "word"), coords=named | steps, attrs=attrs)


def test_the_words_that_change_most_are_named_and_the_others_are_counted() -> None:
    values = np.zeros((3, 6))
    values[1] = [0.1, -3.0, 2.0, 0.2, 1.0, 0.5]
    (axes,) = plot.windows(lost(values, ["a", "knife", "cake", "on", "a", "table"])).axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["2 other words", "knife", "cake", "a (4)", "table"]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["knife"] == [0.0, -3.0, 0.0]
    assert drawn["a (4)"] == [0.0, 1.0, 0.0]
    assert axes.get_ylabel() == "lost when cut (nats)"
    assert axes.get_title(loc="left") + axes.get_title() == "attention cut: keys 'image', rows 'answer'"


def test_hover_tells_window_and_word() -> None:
    figure = plot.windows(lost(np.array([[1.0], [np.nan]]), ["<b>"]), backend="plotly")
    (line,) = figure.data
    assert line.name == "&lt;b>"
    assert list(line.y) == [1.0, None]
    assert list(line.text) == ["layers 0", "layers 1"]
    assert list(figure.layout.xaxis.ticktext) == ["0", "1"]


@pytest.mark.parametrize("width", [3.6, 7.0])
@pytest.mark.parametrize("count", [1, 8, 80])
def test_labels_of_any_depth_stay_apart_and_inside(count: int, width: float) -> None:
    values = np.random.default_rng(0).normal(size=(count, 32))
    figure = plot.windows(lost(values, [f"word{n}" for n in range(32)]), width=width)
    assert texts_outside(figure) == []
    assert overlapping_labels(figure) == []


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input() -> None:
    values = lost(np.zeros((2, 1)), ["a"])
    with pytest.raises(ShapeError, match=r"dims \{'layer': 2, 'word': 1\}; expected: dims window and word"):
        plot.windows(values.drop_vars("window").rename(window="layer"))
    with pytest.raises(ShapeError, match="dims window and word, none empty"):
        plot.windows(values[:0])
    with pytest.raises(ModelInputError, match="backend='plotly' and ax="):
        plot.windows(values, backend="plotly", ax=plot.windows(values).axes[0])
