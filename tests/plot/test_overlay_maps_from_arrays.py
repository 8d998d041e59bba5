"""Maps given as arrays are drawn where they belong, or refused."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PolyCollection

from lvlmscope import plot
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ShapeError
from tests.support.drawn_figures import overlapping_labels, texts_outside, with_image


def drawn(figure, panel: int) -> PolyCollection:
    return next(one for one in figure.axes[panel].collections if isinstance(one, PolyCollection))


def maps(*dims: str, sizes: tuple[int, ...], **coords) -> xr.DataArray:
    attrs = {"long_name": "lost when covered", "units": "nats"}
    values = np.arange(np.prod(sizes), dtype=float).reshape(sizes)
    return xr.DataArray(values, dims=dims, coords=coords, attrs=attrs)


def test_rows_and_columns_divide_the_image():
    trace = with_image(planted_trace())  # 56 x 56 pixels
    values = maps("word", "row", "column", sizes=(2, 2, 4), word=["word0", "word2"], first_step=("word", [0, 2]))
    figure = plot.overlay(trace, ["word2", "word0"], values=values - 3)
    first = drawn(figure, 1)
    assert first.get_array().tolist() == list(range(5, 13))
    box = first.get_paths()[6].get_extents()
    assert (box.x0, box.y0, box.x1, box.y1) == (28, 28, 42, 56)
    assert first.get_clim() == drawn(figure, 2).get_clim() == (-12, 12)
    assert figure.axes[1].get_title(loc="left") == '"word2"\nsum +68 nats'
    assert figure.axes[3].get_xlabel() == "lost when covered (nats)"
    assert texts_outside(figure) == overlapping_labels(figure) == []


def test_keys_lie_where_the_layout_has_them():
    trace = with_image(planted_trace())
    values = maps("key", "word", sizes=(16, 1), key=np.arange(1, 17)[::-1], word=["word1"])
    assert drawn(plot.overlay(trace, 1, values=values), 1).get_array().tolist() == list(range(15, -1, -1))
    alone = values.isel(word=0, drop=True)
    assert drawn(plot.overlay(trace, 1, values=alone), 1).get_array().tolist() == list(range(15, -1, -1))


def test_what_cannot_be_drawn_is_refused():
    trace = with_image(planted_trace())
    with pytest.raises(ShapeError, match=r"dims \{'layer': 2, 'key': 3\}; expected: dims word and key"):
        plot.overlay(trace, 0, values=maps("layer", "key", sizes=(2, 3)))
    with pytest.raises(ShapeError, match=r"no map of 'word0'; expected: 'word1'"):
        plot.overlay(trace, 0, values=maps("word", "row", "column", sizes=(1, 2, 2), word=["word1"]))
    with pytest.raises(ShapeError, match="no value for 14 image keys, the first of them 3"):
        plot.overlay(trace, 0, values=maps("key", sizes=(2,), key=[1, 2]))
