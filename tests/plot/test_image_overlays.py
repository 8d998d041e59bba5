"""A word's attention over the image: in the right place, or refused with the reason."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from lvlmscope import plot
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import GeometryError, ModelInputError
from lvlmscope.plot.data.box_raster import add_up
from lvlmscope.traces.token_layout import Cell, ImageLayout, Layout
from tests.support.drawn_figures import overlapping_labels, texts_outside, with_answer, with_image


def patches(axes) -> PolyCollection:
    return next(artist for artist in axes.collections if isinstance(artist, PolyCollection))


def test_half_precision_is_averaged_in_single():
    trace = with_image(planted_trace(patch=7, mass=0.5, layers=1, heads=2))
    attention = trace.attention.half()
    attention[:, 0, 1, trace.image_keys] += torch.finfo(torch.float16).eps / 2
    figure = plot.overlay(dataclasses.replace(trace, attention=attention), 1)
    expected = attention[1].float().mean((0, 1))[trace.image_keys]
    assert patches(figure.axes[1]).get_array().tolist() == expected.tolist()


def test_mass_on_patch_7_is_drawn_on_patch_7():
    figure = plot.overlay(with_image(planted_trace(patch=7, mass=0.5)), 1)
    drawn = patches(figure.axes[1])
    assert drawn.get_array().argmax() == 7
    assert drawn.get_array()[7] == pytest.approx(0.5)
    box = drawn.get_paths()[7].get_extents()
    assert (box.x0, box.y0, box.x1, box.y1) == (42, 14, 56, 28)  # the last of the second row of four


def test_the_mean_over_a_words_tokens_is_drawn():
    trace = with_answer(" air", "plane", " flies")
    weights = trace.attention.clone()
    weights[0, ..., 1], weights[1, ..., 2] = 0.4, 0.8
    drawn = patches(plot.overlay(dataclasses.replace(trace, attention=weights), "airplane").axes[1])
    expected = weights[:2, ..., 1:3].mean((0, 1, 2)).tolist()
    assert drawn.get_array()[:2].tolist() == pytest.approx(expected)


def test_only_the_chosen_layers_count():
    trace = planted_trace(layers=2)
    weights = trace.attention.clone()
    weights[:, 1] = 0
    trace = dataclasses.replace(trace, attention=weights, layer_indices=(3, 8))
    assert patches(plot.overlay(trace, 0, layers=[8]).axes[1]).get_array().max() == 0
    assert patches(plot.overlay(trace, 0, layers=[3]).axes[1]).get_array().max() > 0
    last, first = (patches(plot.overlay(trace, 0, layers=[n]).axes[1]).get_array().max() for n in (-1, 3 - 9))
    assert last == 0 < first
    with pytest.raises(ModelInputError, match=r"got layers \[5\]; expected: one layer or more, layers 3 to 8"):
        plot.overlay(trace, 0, layers=[5])


def test_several_words_share_one_scale_beside_the_image():
    trace = with_image(planted_trace())
    figure = plot.overlay(trace, ["word0", "word1"])
    assert [axes.get_title(loc="left").split("\n")[0] for axes in figure.axes[:3]] == ["image", '"word0"', '"word1"']
    assert patches(figure.axes[1]).get_clim() == patches(figure.axes[2]).get_clim()
    assert figure.axes[3].get_xlabel() == "attention on a patch (share of 1)"


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("width", [3.6, 7.0])
def test_nothing_leaves_the_figure(count, width):
    trace = with_image(with_answer(*[" extraordinarily" * 3] * 12))
    figure = plot.overlay(trace, list(range(count)), width=width)
    assert texts_outside(figure) == []
    assert overlapping_labels(figure) == []


def test_a_wide_image_keeps_its_shape():
    trace = with_image(planted_trace(), size=(56, 56))
    figure = plot.overlay(trace, 0)
    box = figure.axes[0].get_window_extent()
    assert box.width == pytest.approx(box.height, rel=1e-3)


def test_a_trace_without_its_image_says_so():
    figure = plot.overlay(planted_trace(), 0)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no image\nin the trace:\npatches only"]
    alone = plot.overlay(planted_trace(), 0, ax=Figure().subplots())
    assert alone.axes[0].get_xlabel() == "the trace holds no image: patches only"
    assert texts_outside(figure) == []


def test_a_given_image_replaces_the_traces_own():
    figure = plot.overlay(planted_trace(), 0, image=Image.new("L", (112, 112)))
    assert figure.axes[0].images


def test_a_image_of_another_shape_is_refused():
    with pytest.raises(
        GeometryError, match="an image of 112 x 56 pixels; expected: the shape that was traced, 56 x 56"
    ):
        plot.overlay(planted_trace(), 0, image=Image.new("L", (112, 56)))


def test_an_unknown_geometry_is_refused_with_its_reason():
    trace = planted_trace()
    unknown = ImageLayout(cells=trace.layout.images[0].cells, reason="a resampler mixes the patches")
    trace = dataclasses.replace(trace, layout=Layout(kinds=trace.layout.kinds, images=(unknown,)))
    with pytest.raises(GeometryError, match="a resampler mixes the patches"):
        plot.overlay(trace, 0)


def test_undefined_attention_is_grey_and_said_so():
    trace = planted_trace()
    weights = trace.attention.clone()
    weights[..., 3] = torch.nan
    figure = plot.overlay(with_image(dataclasses.replace(trace, attention=weights)), 0)
    assert " ".join(figure.axes[1].get_xlabel().split()) == "grey: not defined (1 of 16 patches)"
    assert np.ma.getmaskarray(patches(figure.axes[1]).get_array()).tolist()[2]


def test_it_draws_one_word_into_given_axes():
    figure = Figure()
    axes = figure.subplots()
    assert plot.overlay(planted_trace(), 0, ax=axes) is figure
    with pytest.raises(ModelInputError, match="got 2 words; expected: 1 with ax="):
        plot.overlay(planted_trace(), [0, 1], ax=axes)


@pytest.mark.parametrize(
    ("word", "options", "text"),
    [
        ("unicorn", {}, "got 'unicorn'; expected: word0, word1, word2"),
        (3, {}, "got step 3; expected: -3 to 2"),
        ([], {}, "got 0 words"),
        (0, {"image_index": 1}, "got image 1; expected: 0 to 0"),
    ],
)
def test_what_the_trace_does_not_have_is_refused(word, options, text):
    with pytest.raises(ModelInputError, match=text):
        plot.overlay(planted_trace(), word, **options)


def with_tiles(trace, *, frames: int = 1):
    """A trace of 4 overview tokens, then 8 tokens of two tiles of 4, or of further frames, on 56 x 56 pixels."""
    half = [(x, y, x + 28.0, y + 28.0) for y in (0.0, 28.0) for x in (0.0, 28.0)]
    narrow = [(x, y, x + 14.0, y + 28.0) for y in (0.0, 28.0) for x in (0.0, 14.0, 28.0, 42.0)]
    cells = []
    for number, box in enumerate(half + narrow + half):
        place = {"tile": 0 if number < 4 else 1 + (box[0] >= 28)} if frames == 1 else {"frame": min(number // 4, 2)}
        cells.append(Cell(key=1 + number, image=0, role="patch", box=box if number < 12 else None, **place))
    layout = ImageLayout(cells=tuple(cells), size=(56, 56), grid=(2, 2))
    return dataclasses.replace(trace, layout=Layout(kinds=trace.layout.kinds, images=(layout,)))


def test_tiles_over_an_overview_are_added_up():
    trace = planted_trace(mass=0.5)
    weights = torch.zeros_like(trace.attention)
    weights[..., 1], weights[..., 5] = 0.4, 0.2  # the overview's first token, and the first of a tile upon it
    trace = with_tiles(dataclasses.replace(trace, attention=weights))
    axes = plot.overlay(trace, 0).axes[1]
    values, drawn = patches(axes).get_array(), patches(axes).get_paths()
    assert len(values) == 8
    assert values[:2].tolist() == pytest.approx([0.4 + 0.2 * 2, 0.4])  # 0.2 on half of the area
    assert drawn[0].get_extents().bounds == (0, 0, 14, 28)
    assert axes.get_title(loc="left").endswith("60 % on the image")
    assert plot.overlay(trace, 0).axes[2].get_xlabel() == "attention per largest patch (share of 1)"
    alone = patches(plot.overlay(trace, 0, tile=0).axes[1])
    assert alone.get_array().tolist() == pytest.approx([0.4, 0, 0, 0])
    with pytest.raises(ModelInputError, match=r"got tile 5 of frame 0; expected: tiles \[0, 1, 2\] of frames \[0\]"):
        plot.overlay(trace, 0, tile=5)


def test_frames_are_drawn_one_by_one():
    trace = with_tiles(planted_trace(patch=2, mass=0.5), frames=3)
    assert patches(plot.overlay(trace, 0).axes[1]).get_array().tolist() == pytest.approx([0, 0, 0.5, 0])
    assert patches(plot.overlay(trace, 0, frame=1).axes[1]).get_array().max() == 0
    with pytest.raises(ModelInputError, match="got tile None of frame 3"):
        plot.overlay(trace, 0, frame=3)


def test_undefined_attention_of_one_tile_stays_where_it_is():
    trace = planted_trace()
    weights = trace.attention.clone()
    weights[..., 5] = torch.nan
    drawn = patches(plot.overlay(with_tiles(dataclasses.replace(trace, attention=weights)), 0).axes[1])
    assert np.ma.getmaskarray(drawn.get_array()).tolist() == [True] + [False] * 7


def test_a_image_is_that_of_its_own_layout():
    trace = with_image(planted_trace())
    clip = dataclasses.replace(trace.layout.images[0], pixels="input")
    trace = dataclasses.replace(trace, layout=Layout(kinds=trace.layout.kinds, images=(clip, trace.layout.images[0])))
    assert not plot.overlay(trace, 0, image_index=0).axes[0].images
    assert plot.overlay(trace, 0, image_index=1).axes[0].images


@given(
    corners=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9)), min_size=1
    ),
    seed=st.integers(0, 99),
)
def test_adding_up_keeps_the_sum_and_every_points_value(corners, seed):
    boxes = [(float(x), float(y), float(x + wide), float(y + high)) for x, y, wide, high in corners]
    shares = np.random.default_rng(seed).random(len(boxes))
    parts, values = add_up(boxes, shares, 7.0)
    areas = np.array([(right - left) * (bottom - top) for left, top, right, bottom in parts])
    assert (values * areas).sum() / 7.0 == pytest.approx(shares.sum())
    for (left, top, right, bottom), value in zip(parts, values, strict=True):
        x, y = (left + right) / 2, (top + bottom) / 2
        over = [n for n, box in enumerate(boxes) if box[0] < x < box[2] and box[1] < y < box[3]]
        each = [shares[n] * 7.0 / ((boxes[n][2] - boxes[n][0]) * (boxes[n][3] - boxes[n][1])) for n in over]
        assert value == pytest.approx(sum(each))
