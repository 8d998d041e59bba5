"""Layer x head maps: the right cell, the right scale, and a word about what is missing."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lvlmscope import plot
from lvlmscope.diagnostics import image_attention_focus, layer_image_entropy, planted_trace, visual_attention_ratio
from lvlmscope.errors import ModelInputError, ShapeError
from lvlmscope.palette import DIVERGING
from tests.support.drawn_figures import overlapping_labels, texts_outside
from tests.support.random_traces import blind


def signal(values, **attrs):
    return xr.DataArray(np.asarray(values, dtype=np.float32), dims=("layer", "head"), attrs=attrs)


def cells(figure):
    return figure.axes[0].images[0]


def test_a_planted_head_is_drawn_in_its_cell():
    values = np.zeros((3, 5))
    values[2, 4] = 0.5
    drawn = cells(plot.heatmap(signal(values, long_name="planted", units="1")))
    assert np.unravel_index(drawn.get_array().argmax(), (3, 5)) == (2, 4)
    assert drawn.get_clim() == (0.0, 0.5)
    assert drawn.origin == "lower"


def test_a_trace_is_drawn_as_its_attention_on_the_image():
    figure = plot.heatmap(planted_trace(mass=0.25))
    assert np.allclose(cells(figure).get_array(), 0.25)
    assert figure.axes[0].get_title(loc="left") == "Attention on the image, mean over 3 steps"
    assert figure.axes[1].get_ylabel() == "attention on the image (share of 1)"
    assert figure.axes[0].get_ylabel() == "decoder layer (0 at the bottom)"


def test_other_axes_are_averaged_and_said_so():
    focus = image_attention_focus(planted_trace(mass=0.25))
    assert "mean over 3 steps" in plot.heatmap(focus).axes[0].get_title(loc="left")


def test_layer_numbers_are_those_of_the_trace():
    trace = dataclasses.replace(planted_trace(), layer_indices=(4, 9))
    assert [label.get_text() for label in plot.heatmap(trace).axes[0].get_yticklabels()] == ["4", "9"]


def test_a_difference_of_two_signals_is_called_one():
    one, other = (visual_attention_ratio(planted_trace(mass=mass), step="mean") for mass in (0.25, 0.75))
    figure = plot.heatmap(one - other)
    assert figure.axes[0].get_title(loc="left") == "Difference in visual attention ratio"
    assert figure.axes[1].get_ylabel() == "difference in visual attention ratio\n(pure number)"
    assert cells(figure).get_cmap().name == DIVERGING
    steps = image_attention_focus(planted_trace(mass=0.25)) - image_attention_focus(planted_trace(mass=0.75))
    assert plot.heatmap(steps).axes[0].get_title(loc="left").startswith("Difference in image attention focus, mean")
    assert plot.heatmap(other / one).axes[0].get_title(loc="left") == "Computed from visual attention ratio"
    assert plot.heatmap(other).axes[0].get_title(loc="left") == "Visual attention ratio"


def test_differences_are_centred_at_zero():
    assert cells(plot.heatmap(signal([[-0.25, 1.0]]))).get_clim() == (-1.0, 1.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (80, 1), (80, 64), (8, 8)])
@pytest.mark.parametrize("width", [3.6, 7.0])
def test_labels_neither_touch_nor_leave_the_figure(shape, width):
    values = signal(np.random.default_rng(0).random(shape), long_name="visual attention ratio", units="1")
    figure = plot.heatmap(values, width=width)
    assert texts_outside(figure) == []
    assert overlapping_labels(figure) == []


@pytest.mark.parametrize("width", [3.6, 7.0])
def test_a_long_name_stays_beside_its_colour_bar(width):
    values = signal(np.ones((8, 8)), long_name="share of the log-probability recovered by one head alone", units="1")
    assert texts_outside(plot.heatmap(values, width=width)) == []


def test_a_long_title_is_wrapped_and_dollars_are_no_formula():
    figure = plot.heatmap(signal([[1.0]]), title="costs $5 and $6 " + "very long " * 30)
    assert texts_outside(figure) == []
    assert r"\$5" in figure.axes[0].get_title(loc="left")


def test_undefined_cells_are_grey_and_said_so():
    figure = plot.heatmap(signal([[np.nan, 0.5], [0.25, np.inf]]))
    assert "grey: not defined (2 of 4 heads)" in figure.axes[0].get_xlabel()
    assert cells(figure).get_clim() == (0.0, 0.5)


def test_nothing_but_undefined_cells_says_so_across_the_map():
    figure = plot.heatmap(signal(np.full((2, 2), np.nan)))
    assert [text.get_text() for text in figure.axes[0].texts] == ["not defined for any head"]


def test_it_draws_into_given_axes():
    figure = Figure()
    left, _ = figure.subplots(1, 2)
    assert plot.heatmap(planted_trace(), ax=left) is figure
    assert left.images


@pytest.mark.parametrize(
    ("bounds", "unit"),
    [
        ((0.0, 1.0), "share of 1"),
        ((-1.0, 1.0), "from -1 to 1"),
        ((0.0, None), "pure number"),
        ((0.0, 6.5), "from 0 to 6.5"),
    ],
)
def test_a_pure_number_is_labelled_by_its_range(bounds, unit):
    values = signal(np.full((2, 2), 0.5), long_name="planted", units="1", bounds=bounds)
    assert plot.heatmap(values).axes[1].get_ylabel() == f"planted ({unit})"


def test_plotly_shows_layer_head_and_value():
    values = np.array([[0.0, 0.25], [np.nan, 0.5]])
    figure = plot.heatmap(signal(values, long_name="a <b> signal", units="1", bounds=(0.0, 1.0)), backend="plotly")
    (drawn,) = figure.data
    assert list(drawn.z[1]) == [None, 0.5]
    assert (drawn.zmin, drawn.zmax) == (0.0, 0.5)
    assert "layer %{customdata[0]}, head %{customdata[1]}" in drawn.hovertemplate
    assert list(drawn.customdata[1][0]) == ["1", "0"]
    assert figure.layout.title.text == "A &lt;b> signal"
    assert drawn.colorbar.title.text == "a &lt;b> signal (share of 1)"
    assert "0 at the bottom" in figure.layout.yaxis.title.text
    assert "not defined (1 of 4 heads)" in figure.layout.xaxis.title.text


@pytest.mark.parametrize("options", [{"backend": "svg"}, {"backend": "plotly", "ax": Figure().subplots()}])
def test_an_unknown_backend_or_axes_with_plotly_are_refused(options):
    if options["backend"] == "svg":
        pytest.importorskip("beartype")  # the checker of shapes refuses it first
        with pytest.raises(Exception, match="svg"):
            plot.heatmap(planted_trace(), **options)
        return
    with pytest.raises(ModelInputError, match=r"draw a heatmap: got backend='plotly' and ax=; expected: matplotlib"):
        plot.heatmap(planted_trace(), **options)


def test_a_signal_without_heads_is_refused():
    with pytest.raises(ShapeError, match="dims layer and head, none empty"):
        plot.heatmap(layer_image_entropy(planted_trace()))


PER_STEP = ("answer_ids", "log_probs", "entropy", "margin", "top_ids", "top_log_probs")


def test_an_empty_trace_is_refused():
    empty = planted_trace(steps=2)
    empty = dataclasses.replace(
        empty,
        attention=empty.attention[:0],
        answer_tokens=(),
        answer="",
        **{name: getattr(empty, name)[:0] for name in PER_STEP},
    )
    with pytest.raises(ShapeError, match="at least one step"):
        plot.heatmap(empty)


def test_something_else_is_refused():
    with pytest.raises(ModelInputError, match="draw a heatmap: got list"):
        plot.heatmap([[1.0]])


def test_a_trace_without_a_image_is_refused():
    without = blind(planted_trace())
    with pytest.raises(ModelInputError, match="a trace without image keys"):
        plot.heatmap(without)


def test_numbers_stand_in_their_cells_and_contrast():
    figure = plot.heatmap(signal([[0.0, 0.25], [np.nan, 0.5]]), numbers=True)
    written = {text.get_position(): (text.get_text(), text.get_color()) for text in figure.axes[0].texts}
    assert written == {(0, 0): ("0.00", "white"), (1, 0): ("0.25", "white"), (1, 1): ("0.50", "black")}


def test_numbers_that_do_not_fit_are_left_out_and_said_so():
    figure = plot.heatmap(signal(np.ones((80, 64))), numbers=True)
    assert not figure.axes[0].texts
    assert "no numbers: the cells are too small" in figure.axes[0].get_xlabel()


def test_heads_in_order_of_their_value_and_undefined_ones_last():
    figure = plot.heatmap(signal([[0.1, np.nan, 0.3], [0.2, 0.4, 0.3]]), order="value")
    drawn = np.ma.filled(cells(figure).get_array(), np.nan)
    assert np.allclose(drawn, [[0.3, 0.1, np.nan], [0.4, 0.3, 0.2]], equal_nan=True)
    assert "highest first" in figure.axes[0].get_xlabel()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "2", "3"]


def test_heads_in_groups_are_divided_by_a_line_and_hover_tells_their_number():
    values = signal([[0.1, 0.2, 0.3], [0.2, 0.4, 0.3]])
    groups = xr.DataArray([["other", "perception", "other"], ["perception"] * 3], dims=("layer", "head"))
    figure = plot.heatmap(values, groups=groups)
    assert cells(figure).get_array().tolist()[0] == pytest.approx([0.2, 0.1, 0.3])
    assert "perception, other; by number" in figure.axes[0].get_xlabel()
    (_, line) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [0.5, 0.5, 2.5, 2.5]
    figure = plot.heatmap(values, groups=groups, backend="plotly")
    assert (figure.layout.xaxis.range, figure.layout.yaxis.range) == ((-0.5, 2.5), (-0.5, 1.5))
    hovering, _, divider = figure.data
    assert (list(divider.x), list(divider.y)) == ([0.5, 0.5, 2.5, 2.5], [-0.5, 0.5, 0.5, 1.5])
    assert [told[1] for told in hovering.customdata[0]] == ["1", "0", "2"]
    chosen = groups == "perception"
    chosen.attrs["long_name"] = "sensitive head"
    assert "sensitive head, other" in plot.heatmap(values, groups=chosen).axes[0].get_xlabel()
    with pytest.raises(ShapeError, match=r"got dims .*; expected: groups with dims"):
        plot.heatmap(values, groups=groups.isel(layer=slice(1)))
