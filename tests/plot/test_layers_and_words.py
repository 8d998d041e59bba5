"""Views over layers, over words and keys, and by class of word: right place, legible, never blank."""

import dataclasses
import time

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lvlmscope import plot
from lvlmscope.diagnostics import anchor_correlation, layer_correlation, layer_image_entropy, planted_trace, saliency
from lvlmscope.errors import ModelInputError, ShapeError
from lvlmscope.plot.data.layer_lines import lines_of
from tests.support.drawn_figures import overlapping_labels, texts_outside, with_answer


def per_layer(values, **attrs):
    dims = ("layer", "step")[: np.ndim(values)]
    return xr.DataArray(np.asarray(values, dtype=np.float32), dims=dims, attrs=attrs)


def test_the_line_is_the_mean_and_the_band_one_deviation():
    figure = plot.layers(per_layer([[1, 3], [5, 5]], long_name="planted", units="nats"))
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata().tolist() == [2, 5]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert {1.0, 3.0, 5.0} == set(np.round(band, 6))
    assert axes.get_ylabel() == "planted (nats)"


@pytest.mark.parametrize("backend", ["matplotlib", "plotly"])
def test_names_tell_panels_of_one_quantity_apart(backend):
    one, other = per_layer([1, 2], long_name="ratio", units="nats"), per_layer([2, 3], long_name="ratio", units="nats")
    figure = plot.layers([one, other], names=["a cat", "a dog"], backend=backend)
    if backend == "plotly":
        titles = [figure.layout[axis].title.text for axis in ("yaxis", "yaxis2")]
    else:
        titles = [axes.get_ylabel() for axes in figure.axes]
    assert [" ".join(title.replace("<br>", " ").split()) for title in titles] == [
        "a cat: ratio (nats)",
        "a dog: ratio (nats)",
    ]
    with pytest.raises(ModelInputError, match="1 names for 2 signals; expected: as many names as signals"):
        plot.layers([one, other], names=["a cat"], backend=backend)
    with pytest.raises(ModelInputError, match="names= for signals by title"):
        plot.layers({"mine": one}, names=["a cat"], backend=backend)


def test_both_anchors_have_a_line_of_their_own():
    figure = plot.layers(anchor_correlation(planted_trace(patch=7, layers=8)))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["r_neg", "r_pos"]


def test_undefined_layers_are_a_gap_and_said_so():
    figure = plot.layers(per_layer([1, np.nan, 2]))
    assert np.isnan(figure.axes[0].lines[0].get_ydata()[1])
    assert figure.axes[0].get_title(loc="right") == "not defined for 1 of 3 layers"


@pytest.mark.parametrize(
    ("second", "note"),
    [
        ([1.0, np.nan, 2.0], "not defined for 1 of 3 layers"),
        ([1.0, 2.0, 3.0], "not defined for 1 of 3 layers, in some lines only"),
        ([np.nan, np.nan, 3.0], "not defined for 2 of 3 layers, in some lines only"),
    ],
)
def test_undefined_layers_of_several_lines_are_counted_once(second, note):
    values = np.array([[1.0, np.nan, 2.0], second])
    signal = xr.DataArray(values, dims=("word", "layer"), coords={"word": ["a", "b"]}, attrs={"units": "nats"})
    assert lines_of(signal).note == note


@pytest.mark.parametrize("width", [3.6, 7.0])
@pytest.mark.parametrize("count", [1, 8, 80])
def test_labels_of_any_depth_stay_apart_and_inside(count, width):
    signal = per_layer(np.random.default_rng(0).normal(size=(count, 4)), long_name="a signal", units="1")
    square = xr.DataArray(np.eye(count), dims=("layer", "other_layer"), attrs={"long_name": "layer correlation"})
    for figure in (plot.layers([signal, signal], width=width), plot.correlation(square, width=width)):
        assert texts_outside(figure) == []
        assert overlapping_labels(figure) == []


def test_plotly_tells_layer_and_value():
    figure = plot.layers(per_layer([[1, 3], [5, 5]]), backend="plotly")
    band, line = figure.data
    assert list(line.y) == [2, 5]
    assert (list(band.y), list(band.x), band.fill) == ([3, 5, 5, 1], [0, 1, 1, 0], "toself")
    both = plot.layers([per_layer([1, 3], long_name="one"), per_layer([2, 4], long_name="two")], backend="plotly")
    assert [list(line.y) for line in both.data if not line.fill] == [[1, 3], [2, 4]]
    assert both.layout.yaxis2.title.text == "two (no unit given)"


def test_signals_without_layers_are_refused():
    with pytest.raises(ShapeError, match="a layer axis, none empty"):
        plot.layers(xr.DataArray([1.0], dims="step"))
    with pytest.raises(ModelInputError, match="got no signals"):
        plot.layers([])
    with pytest.raises(ModelInputError, match="got 1 axes for 2 signals"):
        plot.layers([per_layer([1]), per_layer([1])], ax=Figure().subplots())


def test_correlation_keeps_its_scale_and_puts_layer_0_at_the_bottom():
    figure = plot.correlation(layer_correlation(planted_trace(patch=7)))
    drawn = figure.axes[0].images[0]
    assert drawn.get_clim() == (-1.0, 1.0)
    assert drawn.origin == "lower"
    assert figure.axes[1].get_ylabel() == "layer correlation (Pearson r)"
    assert plot.correlation(layer_correlation(planted_trace(patch=7)), backend="plotly").data[0].zmin == -1


def test_undefined_correlations_are_said_so():
    nothing = xr.DataArray(np.full((2, 2), np.nan), dims=("layer", "other_layer"))
    assert [text.get_text() for text in plot.correlation(nothing).axes[0].texts] == ["not defined anywhere"]
    told = plot.correlation(nothing, backend="plotly").layout.annotations
    assert [note.text for note in told] == ["not defined anywhere"]
    with pytest.raises(ShapeError, match="dims layer and other_layer"):
        plot.correlation(per_layer([1.0]))


def test_saliency_on_the_word_before_is_drawn_below_the_diagonal():
    trace = planted_trace(salient="previous")
    figure = plot.saliency_matrix(trace, saliency(trace), scale="shared")
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["<s>", "image (16)", "?", "word0", "word1"]
    drawn = figure.axes[0].images[0].get_array()
    assert np.allclose(drawn[1].filled(0), [0, 0, 0, 1, 0])
    assert np.ma.getmaskarray(drawn).tolist()[0] == [False, False, False, True, True]
    assert "not yet written (3 of 15 cells)" in figure.axes[0].get_xlabel()


def test_image_keys_are_added_up_or_kept_and_words_chosen():
    trace = planted_trace(side=2)
    values = xr.DataArray(np.ones((3, 8)), dims=("step", "key"))
    together = plot.saliency_matrix(trace, values, scale="shared").axes[0].images[0].get_array()
    assert together[0, 1] == 4
    kept = plot.saliency_matrix(trace, values, image_keys="separate", words=["word1"]).axes[0].images[0].get_array()
    assert kept.shape == (1, 8)
    with pytest.raises(ModelInputError, match="got step 3"):
        plot.saliency_matrix(trace, values, words=[3])


def test_the_column_of_the_image_has_a_scale_of_its_own_and_a_sink_hides_no_word():
    trace = planted_trace(side=2, steps=12)
    values = np.full((12, 17), 0.1)
    values[:, 0], values[:, 1:5] = 3.0, 2.0
    signal = xr.DataArray(values, dims=("step", "key"), attrs={"long_name": "planted", "units": "1"})
    figure = plot.saliency_matrix(trace, signal)
    keys, image = figure.axes[0].images
    assert np.ma.getmaskarray(keys.get_array())[:, 1].all()
    assert (keys.get_clim(), image.get_clim()) == ((0, pytest.approx(0.1)), (0, 8))
    assert list(image.get_extent()) == [0.5, 1.5, 11.5, -0.5]
    labels = [" ".join(axes.get_ylabel().split()) for axes in figure.axes[1:]]
    assert "planted (pure number): image keys added up" in labels
    assert "planted (pure number); last colour: 12 values above, up to 3" in labels
    hovering = plot.saliency_matrix(trace, signal, backend="plotly").data
    assert [(one.zmin, one.zmax) for one in hovering] == [(0, pytest.approx(0.1)), (0, 8)]
    assert hovering[1].x == (1,)
    rows = plot.saliency_matrix(trace, signal * np.arange(1, 13)[:, None], scale="each").axes[0].images[0]
    assert np.allclose(np.ma.compressed(rows.get_array()[:, 5]), 1.0)
    given = plot.saliency_matrix(trace, signal, vmax=0.5, cmap="magma").axes[0].images
    assert ([one.get_clim()[1] for one in given], given[0].get_cmap().name) == ([0.5, 8], "magma")


def test_a_word_of_two_tokens_is_their_mean():
    trace = with_answer(" air", "plane", " flies", side=2)
    values = xr.DataArray(np.array([[1.0] * 8, [3.0] * 8, [0.0] * 8]), dims=("step", "key"))
    assert plot.saliency_matrix(trace, values).axes[0].images[0].get_array()[0, 0] == 2


@pytest.mark.parametrize("count", [1, 40, 2000])
def test_a_long_answer_is_drawn_with_thinned_labels_in_seconds(count):
    trace = planted_trace(steps=count, layers=1, heads=1, side=2)
    values = xr.DataArray(np.ones(trace.attention.shape[::3], dtype=np.float32), dims=("step", "key"))
    began = time.monotonic()
    figures = [
        plot.saliency_matrix(trace, values),
        plot.distribution(trace, values.mean("key"), hallucinated=[0], width=3.6),
    ]
    for figure in figures:
        assert texts_outside(figure) == []
        assert overlapping_labels(figure) == []
    assert time.monotonic() - began < 20


def test_hover_over_too_many_cells_is_refused():
    trace = planted_trace(steps=700, layers=1, heads=1, side=2)
    values = xr.DataArray(np.ones(trace.attention.shape[::3], dtype=np.float32), dims=("step", "key"))
    with pytest.raises(ModelInputError, match="got 700 x 702 cells; expected: up to 400000 cells"):
        plot.saliency_matrix(trace, values, backend="plotly")
    figure = plot.saliency_matrix(trace, values, words=range(3), backend="plotly")
    assert figure.layout.yaxis.range == (2.5, -0.5)


def test_another_traces_saliency_or_an_empty_answer_is_refused():
    values = xr.DataArray(np.ones((2, 20)), dims=("step", "key"))
    with pytest.raises(ShapeError, match="got 2 x 20; expected: 3 steps x 20 keys"):
        plot.saliency_matrix(planted_trace(), values)
    silent = dataclasses.replace(planted_trace(steps=1), answer_tokens=("",), answer="")
    with pytest.raises(ModelInputError, match="got no words"):
        plot.saliency_matrix(silent, xr.DataArray(np.ones((1, 18)), dims=("step", "key")))
    with pytest.raises(ModelInputError, match="got an empty answer"):
        plot.distribution(silent, xr.DataArray([1.0], dims="step"))


@pytest.mark.usefixtures("unchecked_shapes")
def test_choices_that_name_nothing_are_refused():
    values = xr.DataArray(np.ones((3, 20)), dims=("step", "key"))
    with pytest.raises(ModelInputError, match="image_keys='all'; expected: 'summed', 'separate'"):
        plot.saliency_matrix(planted_trace(), values, image_keys="all")
    with pytest.raises(ModelInputError, match="order='size'; expected: 'number', 'value'"):
        plot.heatmap(planted_trace(), order="size")


def test_words_are_points_of_their_class():
    signal = xr.DataArray([1.0, 2.0, np.nan], dims="step", attrs={"long_name": "planted", "units": "nats"})
    figure = plot.distribution(planted_trace(), signal, grounded=[0], hallucinated=[1])
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["grounded\n1 word", "hallucinated\n1 word", "other words\n0 words"]
    assert [c.get_offsets()[:, 1].tolist() for c in figure.axes[0].collections] == [[1.0], [2.0], []]
    assert figure.axes[0].get_xlabel() == "not defined for 1 of 3 words"
    points = plot.distribution(planted_trace(), signal, hallucinated=[1], backend="plotly").data
    assert [one.text[0] for one in points] == ["word1 (hallucinated)", "word0 (other words)"]


@pytest.mark.parametrize("draw", [plot.layers, plot.correlation])
def test_axes_with_plotly_are_refused(draw):
    signal = layer_image_entropy(planted_trace())
    with pytest.raises(ModelInputError, match=r"got backend='plotly' and ax="):
        draw(signal, backend="plotly", ax=Figure().subplots())


def test_shares_that_are_added_up_are_called_a_share_only_as_long_as_they_are_one():
    trace = planted_trace(side=2, steps=3)
    shares = {"long_name": "planted", "units": "1", "bounds": (0.0, 1.0)}
    for each, unit in ((0.2, "share of 1"), (0.7, "pure number"), (np.nan, "share of 1")):
        signal = xr.DataArray(np.full((3, 8), each), dims=("step", "key"), attrs=shares)
        figure = plot.saliency_matrix(trace, signal)
        labels = [" ".join(axes.get_ylabel().split()) for axes in figure.axes[1:]]
        assert sorted(labels) == sorted(["planted (share of 1)", f"planted ({unit}): image keys added up"])


def test_the_second_bar_of_a_low_matrix_stands_beside_the_first_ones_label():
    trace = planted_trace(side=2, steps=1)
    values = np.full((1, 6), 0.1)
    values[:, 0] = 3.0
    signal = xr.DataArray(values, dims=("step", "key"), attrs={"long_name": "planted quantity", "units": "1"})
    figure = plot.saliency_matrix(trace, signal, backend="plotly")
    first, second = (one.colorbar for one in figure.data)
    inner = figure.layout.width - figure.layout.margin.l - figure.layout.margin.r
    lines = first.title.text.count("<br>") + 1
    assert lines > 2
    assert (second.x - first.x) * inner >= 52 + 17 * lines
    assert second.x * inner + 52 + 17 * (second.title.text.count("<br>") + 1) <= inner + figure.layout.margin.r
