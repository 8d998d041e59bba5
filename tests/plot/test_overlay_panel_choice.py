"""Panels of an overlay: sets of words, layers, heads; contour lines, opacity, blur; images that are elsewhere."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from PIL import Image

from lvlmscope import plot
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ImageInputError, ModelInputError
from lvlmscope.plot.data.box_raster import gridded, rastered, smoothed
from lvlmscope.traces.trace import Trace
from tests.support.drawn_figures import texts_outside, with_image


def titles(figure):
    return [axes.get_title(loc="left").split("\n")[0] for axes in figure.axes[1:-1]]


def cells(axes):
    return next(artist for artist in axes.collections if isinstance(artist, PolyCollection)).get_array()


def one_cell(step=0, layer=0, head=0, patch=7, mass=0.5, **planted):
    """All heads look nowhere but one, at one step, at one patch."""
    trace = planted_trace(**planted)
    weights = torch.zeros_like(trace.attention)
    weights[step, layer, head, 1 + patch] = mass
    return with_image(dataclasses.replace(trace, attention=weights))


def test_a_set_of_words_is_one_map_of_their_mean():
    figure = plot.overlay(one_cell(step=1, layers=1, heads=1), {"word2", "word1"})
    assert titles(figure) == ['"word1", "word2"']
    assert cells(figure.axes[1])[7] == pytest.approx(0.25)
    with pytest.raises(ModelInputError, match="got an empty set of words"):
        plot.overlay(planted_trace(), set())


def test_one_head_is_drawn_alone_and_named():
    trace = one_cell(layer=1, head=2)
    figure = plot.overlay(trace, 0, layers=[1], heads=[2])
    assert cells(figure.axes[1])[7] == pytest.approx(0.5)
    assert figure.axes[-1].get_xlabel() == "attention on a patch (share of 1); layer 1, head 2"
    assert cells(plot.overlay(trace, 0, layers=[1], heads=[3]).axes[1]).max() == 0
    with pytest.raises(ModelInputError, match=r"got heads \[4\]; expected: heads 0 to 3"):
        plot.overlay(trace, 0, heads=[4])


def test_a_strip_over_layers_and_one_over_heads():
    trace = dataclasses.replace(one_cell(layer=1, head=2), layer_indices=(4, 9))
    over = plot.overlay(trace, "word0", each="layer", heads=[2])
    assert titles(over) == ["layer 4", "layer 9"]
    assert [cells(axes)[7] for axes in over.axes[1:3]] == pytest.approx([0, 0.5])
    assert over.axes[-1].get_xlabel().split("\n")[0] == 'attention on a patch (share of 1); "word0", head 2'
    heads = plot.overlay(trace, "word0", each="head", layers=[9])
    assert [float(cells(axes)[7]) for axes in heads.axes[1:5]] == pytest.approx([0, 0, 0.5, 0])


def test_a_deep_strip_is_small_panels_of_all_layers():
    figure = plot.overlay(with_image(planted_trace(layers=80, heads=1)), 0, each="layer")
    assert (titles(figure)[0], titles(figure)[-1], len(titles(figure))) == ("layer 0: 50 %", "layer 79: 50 %", 80)
    assert figure.axes[-1].get_xlabel().endswith("titles: share on the image")
    assert texts_outside(figure) == []


@pytest.mark.parametrize("options", [{"each": "layer"}, {"ax": Figure().subplots(), "each": "layer"}])
def test_several_words_or_one_place_and_many_layers_are_refused(options):
    with pytest.raises(ModelInputError, match=r"got 2 words; expected: 1 to 12 words|got 2 layers; expected: 1 with"):
        plot.overlay(planted_trace(), 0 if "ax" in options else [0, 1], **options)


def test_contour_lines_surround_the_patch_that_stands_out():
    figure = plot.overlay(one_cell(), 0, contour=True, alpha=0.0)
    (lines, _) = [artist for artist in figure.axes[1].collections if isinstance(artist, QuadContourSet)]
    assert lines.levels == pytest.approx(np.array([0.25, 0.5, 0.75]) * 0.5 / 8)
    inside = lines.get_paths()[1].vertices
    assert (inside.min(0) > [41, 13]).all()
    assert (inside.max(0) < [57, 29]).all()


def test_a_blur_keeps_the_sum_inside_and_is_told():
    trace = one_cell(patch=5, layers=1, heads=1, side=12)
    trace = with_image(trace, (168, 168))
    figure = plot.overlay(trace, 0, smoothing=0.5)
    assert "blurred over 0.5 patches" in figure.axes[-1].get_xlabel()
    assert figure.axes[1].images[-1].get_array().max() < 0.5


@given(st.integers(2, 12), st.integers(2, 12), st.floats(0.3, 3.0))
def test_a_blur_leaves_an_even_field_even_and_stays_between_its_ends(rows, columns, deviation):
    assert np.allclose(smoothed(np.full((rows, columns), 0.25), deviation), 0.25)
    field = np.random.default_rng(rows * columns).random((rows, columns))
    assert field.min() - 1e-9 <= smoothed(field, deviation).min()
    assert smoothed(field, deviation).max() <= field.max() + 1e-9


def test_a_raster_point_has_the_value_of_the_box_it_lies_in():
    boxes, values = [(0.0, 0.0, 10.0, 20.0), (30.0, 0.0, 40.0, 20.0)], np.array([1.0, 2.0])
    raster = rastered(boxes, values, (40, 20))
    points = (np.arange(raster.shape[1]) + 0.5) * 40 / raster.shape[1]
    expected = np.where(points < 10, 1.0, np.where(points > 30, 2.0, np.nan))
    assert np.array_equal(raster[3], expected, equal_nan=True)
    assert np.isnan(gridded(boxes, values)[2][0, 1])


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"smoothing": -1.0}, {"smoothing": float("nan")}])
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(
        ModelInputError,
        match=r"got (alpha=1\.5; expected: a number from 0 to 1|smoothing=(-1\.0|nan); expected: a number from 0);",
    ):
        plot.overlay(planted_trace(), 0, **options)


def test_a_moved_image_does_not_matter_to_a_trace_and_is_named_when_asked_for(tmp_path):
    trace = one_cell()
    trace.save(tmp_path / "trace.safetensors")
    assert plot.overlay(Trace.load(tmp_path / "trace.safetensors"), 0).axes[0].images
    image = tmp_path / "image.png"
    Image.new("RGB", (56, 56)).save(image)
    assert plot.overlay(planted_trace(), 0, image=image).axes[0].images
    with pytest.raises(ImageInputError, match=r"No such file.*image2.png|image2.png.*No such file"):
        plot.overlay(planted_trace(), 0, image=image.with_name("image2.png"))


def test_plotly_lays_the_values_over_the_image():
    figure = plot.overlay(one_cell(layers=1, heads=1), ["word0", "word1"], backend="plotly", contour=True)
    first = next(drawn for drawn in figure.data if drawn.type == "heatmap")
    assert (first.z[1][3], first.x[3], first.y[1]) == (pytest.approx(0.5), 42, 14)
    assert [note.text for note in figure.layout.annotations][:2] == ["image", '"word0"<br>50 % on the image']
    assert len(figure.layout.images) == 3
    assert figure.layout.coloraxis.cmax == pytest.approx(0.5)
    blind = plot.overlay(planted_trace(), 0, backend="plotly", smoothing=0.4)
    assert "no image<br>in the trace:<br>patches only" in [note.text for note in blind.layout.annotations]
    assert "blurred" in blind.layout.coloraxis.colorbar.title.text
