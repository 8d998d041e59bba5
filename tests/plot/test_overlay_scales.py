"""Scales, opacity, sinks, pairs and the mosaic of an overlay: the signal is seen, and the object under it."""

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection

from lvlmscope import plot
from lvlmscope.diagnostics import attention_sinks, planted_trace
from lvlmscope.diagnostics.sinks import image_rows
from lvlmscope.errors import ModelInputError, ShapeError
from lvlmscope.plot.data.colour_scale import scale_of, scales_of
from lvlmscope.plot.drawing.map_colours import over_grey, translucent
from lvlmscope.traces.token_layout import Cell, ImageLayout, Layout
from tests.support.drawn_figures import texts_outside, with_image
from tests.support.random_traces import random_trace


def patches(axes) -> PolyCollection:
    return next(artist for artist in axes.collections if isinstance(artist, PolyCollection))


def limits(figure) -> list[float]:
    return [float(patches(axes).get_clim()[1]) for axes in figure.axes[1:-1]]


def one_sink(*, sink=0.5, **planted):
    """Each row has 0.01 on patches 0 to 3, and most on patch 15."""
    trace = planted_trace(side=8, **planted)
    weights = torch.zeros_like(trace.attention)
    weights[..., 1:5], weights[..., 1 + 63], weights[..., 0] = 0.01, sink, 0.46
    return with_image(dataclasses.replace(trace, attention=weights), (112, 112))


def test_opacity_grows_with_the_value_and_nothing_hides_what_draws_no_attention():
    figure = plot.overlay(with_image(planted_trace(patch=7)), 0, alpha=0.7)
    drawn = patches(figure.axes[1])
    figure.canvas.draw()
    opacity = drawn.get_facecolor()[:, 3]
    assert opacity[7] == pytest.approx(0.7)
    assert opacity[:7].tolist() == [0.0] * 7
    colours = translucent(scale_of([1.0]), 0.7, alone=False)
    assert (np.diff(colours[:, 3]) > 0).all()
    assert (translucent(scale_of([-1.0]), 0.7, alone=False)[[0, -1], 3] == 0.7).all()
    assert (translucent(scale_of([1.0]), 0.7, alone=True)[:, 3] == 1).all()


def test_the_colour_bar_has_the_colours_that_are_seen_over_the_images_grey():
    trace = with_image(planted_trace(patch=7))  # an even image
    figure = plot.overlay(trace, 0)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    box = figure.axes[1].get_window_extent()
    x, y = box.x0 + box.width * 49 / 56, pixels.shape[0] - (box.y1 - box.height * 21 / 56)
    seen = pixels[int(y), int(x)]
    bar = figure.axes[-1].get_window_extent()
    last = pixels[int(pixels.shape[0] - (bar.y0 + bar.y1) / 2), int(bar.x1) - 4]
    assert np.abs(seen.astype(int) - last).max() <= 3


def test_one_sink_patch_does_not_hide_the_others():
    trace = one_sink()
    robust = plot.overlay(trace, 0)
    assert limits(robust) == pytest.approx([0.01])
    assert robust.axes[-1].get_xlabel().endswith("last colour: 1 value above, up to 0.5")
    assert limits(plot.overlay(trace, 0, scale="shared")) == pytest.approx([0.5])
    assert "above" not in plot.overlay(trace, 0, scale="shared").axes[-1].get_xlabel()
    assert limits(plot.overlay(trace, [0, 1], vmax=0.2)) == pytest.approx([0.2, 0.2])
    even = plot.overlay(with_image(planted_trace(patch=7)), 0)
    assert limits(even) == pytest.approx([0.5])


def test_layers_have_scales_of_their_own_unless_one_is_asked_for():
    trace = one_sink(layers=3, heads=1)
    weights = trace.attention.clone()
    weights[:, 0] *= 0.1
    trace = dataclasses.replace(trace, attention=weights)
    figure = plot.overlay(trace, 0, each="layer")
    assert limits(figure) == pytest.approx([0.001, 0.01, 0.01])
    assert [axes.get_title(loc="left").split("\n")[-1] for axes in figure.axes[1:3]] == [
        "scale to 0.001",
        "scale to 0.01",
    ]
    assert "1: the end of each panel's own scale; 3 panels with values above it" in figure.axes[-1].get_xlabel()
    assert figure.axes[-1].get_xlim() == (0.0, 1.0)
    assert limits(plot.overlay(trace, 0, each="layer", scale="shared")) == pytest.approx([0.5] * 3)


def test_scales_of_values_of_both_signs_stay_centred():
    (scale,) = scales_of([np.array([-1.0, 0.5])], "robust", vmax=0.4)
    assert (scale.low, scale.high, scale.beyond) == (-0.4, 0.4, "2 values above, up to 1")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cmap": "virids"}, "got cmap='virids'; .* did you mean 'viridis'"),
        ({"vmax": 0.1, "scale": "each"}, "got vmax=0.1 and scale='each'"),
        ({"vmax": 0.0}, "got vmax=0.0"),
        ({"scale": "log"}, "got scale='log'"),
        ({"heads": [(0, 1), 2]}, "pairs alone"),
        ({"heads": [(0, 1)], "layers": [0]}, "without layers="),
        ({"heads": [(0, 1)], "each": "layer"}, "each='word' or 'head'"),
        ({"heads": [(5, 1)]}, "got layers 5; expected: a list of ints from -2 to 1"),
        ({"heads": [(0, 9)]}, r"got heads \[\(0, 9\)\]; expected: heads 0 to 3"),
        ({"heads": []}, r"got heads \[\]"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_options_that_cannot_be_are_refused(options, text):
    with pytest.raises(ModelInputError, match=text):
        plot.overlay(planted_trace(), 0, **options)


def test_a_chosen_colour_map_is_used_in_both_backends():
    trace = with_image(planted_trace(patch=7))
    drawn = patches(plot.overlay(trace, 0, cmap="magma", alpha=1.0).axes[1])
    expected = translucent(dataclasses.replace(scale_of([1.0]), colours="magma"), 1.0, alone=False)
    assert np.allclose(drawn.cmap(np.linspace(0, 1, 64)), expected)
    figure = plot.overlay(trace, 0, cmap="magma", alpha=1.0, backend="plotly")
    last = next(one for one in figure.data if one.type == "heatmap").colorscale[-1][1]
    assert last == "rgba({:.0f},{:.0f},{:.0f},1.000)".format(*(255 * expected[-1, :3]))
    assert figure.layout.coloraxis.colorscale[-1][1] == "rgba({:.0f},{:.0f},{:.0f},1.000)".format(
        *(255 * over_grey(expected, 0.5)[-1, :3])
    )


def test_sinks_are_left_out_layer_by_layer_and_rows_renormalised():
    trace = random_trace(3, steps=3, layers=2, heads=2, side=6)
    weights = trace.attention.clone()
    weights[:, 0, :, 5] += 3.0  # a sink of layer 0 only
    weights[:, :, :, 9] += 3.0  # one of both
    weights /= weights.sum(-1, keepdim=True)
    trace = with_image(dataclasses.replace(trace, attention=weights), (84, 84))
    found = attention_sinks(trace, multiple=4.0)
    assert found.values.nonzero()[1].tolist() == [5, 9, 9]
    figure = plot.overlay(trace, 1, sinks=found)
    drawn = patches(figure.axes[1]).get_array()
    rows = image_rows(trace, found).weights[1].numpy()
    expected = rows.mean(1)[:, 1:37].mean(0)
    assert np.ma.getmaskarray(drawn).nonzero()[0].tolist() == [8]
    assert drawn[4] == pytest.approx(rows.mean(1)[1, 5], rel=1e-5)  # layer 1 alone
    others = [n for n in range(36) if n not in (4, 8)]
    assert np.asarray(drawn)[others] == pytest.approx(expected[others], rel=1e-5)
    assert figure.axes[1].get_xlabel() == "grey: 1 sink left out"
    assert figure.axes[-1].get_xlabel().split("\n")[0] == "attention on a patch (share of 1); given sinks left out"
    assert "% on the image" in figure.axes[1].get_title(loc="left")
    with pytest.raises(ShapeError, match="take attention_sinks of this trace"):
        plot.overlay(planted_trace(), 0, sinks=found)
    exclude = plot.overlay(one_sink(sink=0.5), 0, sinks="exclude")
    assert np.ma.getmaskarray(patches(exclude.axes[1]).get_array()).nonzero()[0].tolist() == [63]
    assert limits(exclude) == pytest.approx([0.25])


def test_pairs_of_layer_and_head_are_panels_or_averaged():
    trace = with_image(random_trace(1, layers=3, heads=4, side=4))
    pairs = [(2, 1), (0, 3)]
    image = trace.image_keys.numpy()
    amounts = [trace.attention[0, layer, head].numpy()[image] for layer, head in pairs]
    figure = plot.overlay(trace, 0, each="head", heads=pairs)
    drawn = [patches(axes).get_array() for axes in figure.axes[1:3]]
    assert np.allclose(drawn, amounts)
    assert [axes.get_title(loc="left").split("\n")[0] for axes in figure.axes[1:3]] == [
        "layer 2, head 1",
        "layer 0, head 3",
    ]
    mean = plot.overlay(trace, [0, 1], heads=pairs)
    assert np.allclose(patches(mean.axes[1]).get_array(), np.mean(amounts, 0))
    assert "(layer, head) (2, 1), (0, 3)" in mean.axes[-1].get_xlabel()


def with_layouts(trace, *images):
    return dataclasses.replace(trace, layout=Layout(kinds=trace.layout.kinds, images=images))


def quarter(key, *, image=0, **place):
    return Cell(key=key, image=image, box=(0.0, 0.0, 8.0, 8.0), **place)


def part_titles(trace, **options):
    (title,) = [axes.get_title(loc="left") for axes in plot.overlay(trace, 0, **options).axes[1:-1]]
    return title.split("\n")[1:]


def test_a_share_of_a_part_of_the_image_tokens_names_the_part_and_gives_the_whole():
    trace = planted_trace(mass=0.64, sink=0.1)  # 0.04 on each of 16 image keys
    cells = [quarter(1 + n, frame=n // 4, tile=0) for n in range(16)]
    video = with_layouts(trace, ImageLayout(cells=tuple(cells), size=(8, 8), pixels="input"))
    assert part_titles(video, frame=1) == ["16 % on frame 1", "64 % on the video"]
    cells = [quarter(1 + n, tile=n // 8) for n in range(16)]
    tiles = with_layouts(trace, ImageLayout(cells=tuple(cells), size=(8, 8)))
    assert part_titles(tiles, tile=1) == ["32 % on tile 1", "64 % on the image"]
    assert part_titles(tiles) == ["64 % on the image"]
    cells = [quarter(1 + n) if n < 12 else Cell(key=1 + n, image=0, role="newline") for n in range(16)]
    newlines = with_layouts(trace, ImageLayout(cells=tuple(cells), size=(8, 8)))
    assert part_titles(newlines) == ["48 % on its patches", "64 % on the image"]
    halves = [[quarter(1 + n + 8 * i, image=i) for n in range(8)] for i in range(2)]
    two = with_layouts(trace, *(ImageLayout(cells=tuple(half), size=(8, 8)) for half in halves))
    assert part_titles(two, image_index=1) == ["32 % on image 1", "64 % on all images"]


def one_head(layer, head, patch, **planted):
    trace = planted_trace(**planted)
    weights = torch.full_like(trace.attention, 1e-4)
    weights[0, layer, head, 1 + patch] = 0.5
    return with_image(dataclasses.replace(trace, attention=weights))


def test_the_mosaic_has_each_head_in_its_tile_with_layer_0_at_the_bottom():
    trace = one_head(0, 2, 3, layers=3, heads=4)
    figure = plot.overlay(trace, 0, each="layer_head", scale="shared")
    pixels = figure.axes[0].images[0].get_array()
    rows, columns = np.nonzero((pixels == (253, 231, 37)).all(-1))
    assert pixels.shape == (3 * 5, 4 * 5, 3)  # four patches and a white point
    assert (rows.tolist(), columns.tolist()) == ([2 * 5], [2 * 5 + 3])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "1", "2"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "1", "2", "3"]
    assert figure.axes[0].get_title(loc="left") == '"word0": attention of each head on the image'
    assert texts_outside(figure) == []
    hovering = plot.overlay(trace, 0, each="layer_head", backend="plotly")
    assert hovering.data[0].z[0][2] == pytest.approx(0.5 + 15e-4)
    assert list(hovering.layout.yaxis.ticktext) == ["0", "1", "2"]
    part = plot.overlay(trace, 0, each="layer_head", layers=[0, 2], heads=[2], scale="shared")
    assert part.axes[0].images[0].get_array().shape == (2 * 5, 5, 3)
    assert [label.get_text() for label in part.axes[0].get_yticklabels()] == ["0", "2"]


@pytest.mark.parametrize("backend", ["matplotlib", "plotly"])
def test_a_mosaic_of_more_points_than_a_page_shows_is_of_means_and_says_so(backend):
    trace = planted_trace(layers=1, heads=64, side=48, steps=1)
    figure = plot.overlay(trace, 0, each="layer_head", backend=backend)
    told = figure.axes[-1].get_xlabel() if backend == "matplotlib" else figure.data[1].marker.colorbar.title.text
    assert "each map as 16 x 16 means of its 48 x 48 patches" in told


def test_a_mosaic_of_tiles_over_an_overview_adds_them_up():
    trace = planted_trace(layers=1, heads=1, steps=1, side=2)
    weights = torch.zeros_like(trace.attention)
    weights[..., 1:5] = torch.tensor([0.4, 0.2, 0.1, 0.0])
    boxes = [(0, 0, 8, 8), (0, 0, 4, 8), (4, 0, 8, 4), (4, 4, 8, 8)]
    cells = [Cell(key=1 + n, image=0, tile=int(n > 0), box=tuple(map(float, box))) for n, box in enumerate(boxes)]
    trace = dataclasses.replace(with_layouts(trace, ImageLayout(cells=tuple(cells), size=(8, 8))), attention=weights)
    figure = plot.overlay(trace, 0, each="layer_head", scale="shared", cmap="gray")
    tile = figure.axes[0].images[0].get_array()[:-1, :-1, 0] / 255
    assert "per largest patch" in figure.axes[-1].get_xlabel()
    top = 0.4 + 0.2 * 2  # of 64 square pixels
    assert tile[:2].tolist()[0] == pytest.approx([1.0, (0.4 + 0.1 * 4) / top], abs=0.01)
    assert tile[-1].tolist() == pytest.approx([1.0, 0.4 / top], abs=0.01)
