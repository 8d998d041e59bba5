"""From patches to words: the word that was planted on a patch is found there, by box and by patch."""

import dataclasses

import numpy as np
import pytest
import torch

from lvlmscope import plot
from lvlmscope.diagnostics import attention_sinks, planted_trace
from lvlmscope.diagnostics.sinks import image_rows
from lvlmscope.errors import GeometryError, ModelInputError
from lvlmscope.plot.data.head_choice import choose_part
from lvlmscope.plot.data.region_words import chosen_cells, region_words
from lvlmscope.traces.sink_keys import sink_mask
from lvlmscope.traces.token_layout import ImageLayout, Layout
from tests.plot.test_image_overlays import with_tiles
from tests.support.drawn_figures import overlapping_labels, texts_outside, with_answer, with_image
from tests.support.figure_parts import parts_of
from tests.support.random_traces import random_trace

NO_MARKS = {"hallucinated": (), "grounded": ()}


def planted():
    """Six words; the third looks at the patch in row 1 and column 3, all others evenly."""
    trace = planted_trace(steps=6)
    weights = trace.attention.clone()
    weights[2, ..., trace.image_keys] = 0.0
    weights[2, ..., 1 + 7] = 0.5
    return with_image(dataclasses.replace(trace, attention=weights))


def values(trace, cells, *, sinks="keep", **chosen):
    part = choose_part(trace, chosen.get("layers"), chosen.get("heads"), "word")
    return region_words(trace, cells, part, sink_mask(trace, sinks), NO_MARKS)


@pytest.mark.parametrize("where", [{"patches": [(1, 3)]}, {"box": (42.5, 14.5, 55.0, 27.0)}])
def test_the_word_that_looks_there_is_found(where):
    trace = planted()
    figure = plot.attending_words(trace, **where)
    words = figure.axes[1]
    line, points = words.lines[0], words.collections[1].get_offsets()
    assert points[:, 1].tolist() == pytest.approx([0.5 / 16] * 2 + [0.5] + [0.5 / 16] * 3)
    assert list(line.get_ydata()) == pytest.approx([0.5 / 16] * 6)
    assert " ".join(words.get_ylabel().split()) == "attention on 1 of 16 image tokens (share of 1)"
    assert [label.get_text() for label in words.get_xticklabels()] == [f"word{n}" for n in range(6)]
    (frame,) = figure.axes[0].patches
    assert frame.get_bbox().bounds == (42, 14, 14, 14)
    assert texts_outside(figure) == []


def test_values_are_sums_over_the_region_by_hand():
    trace = random_trace(2, steps=4, layers=3, heads=2, side=3)
    cells = chosen_cells(trace.layout.images[0], (0.0, 0.0, 15.0, 10.0), None, tile=None, frame=0)
    assert [cell.key for cell in cells] == [1, 2]
    found = values(trace, cells)
    weights = trace.attention.double().tolist()
    for step in range(4):
        total = 0.0
        for layer in range(3):
            for head in range(2):
                total += weights[step][layer][head][1] + weights[step][layer][head][2]
        assert found.attention[step] == pytest.approx(total / 6, rel=1e-5)
    pair = values(trace, cells, heads=[(2, 1)])
    assert pair.attention[1] == pytest.approx(weights[1][2][1][1] + weights[1][2][1][2], rel=1e-5)
    one = values(trace, cells, layers=[1], heads=[0])
    assert one.attention[3] == pytest.approx(weights[3][1][0][1] + weights[3][1][0][2], rel=1e-5)
    whole = chosen_cells(trace.layout.images[0], (0.0, 0.0, 42.0, 42.0), None, tile=None, frame=0)
    both = values(trace, whole)
    assert both.attention == pytest.approx(both.even)


def test_sinks_are_left_out_as_the_signals_do():
    trace = random_trace(4, steps=3, side=6)
    weights = trace.attention.clone()
    weights[..., 9] += 3.0
    trace = dataclasses.replace(trace, attention=weights / weights.sum(-1, keepdim=True))
    found = attention_sinks(trace, multiple=4.0)
    cells = chosen_cells(trace.layout.images[0], None, [(0, 0), (1, 2)], tile=None, frame=0)  # keys 1 and 9
    assert found.sel(key=9).all()
    expected = image_rows(trace, found).weights[..., 1].mean((1, 2))
    assert values(trace, cells, sinks=found).attention == pytest.approx(expected.numpy(), rel=1e-5)
    figure = plot.attending_words(with_image(trace, (84, 84)), patches=[(1, 2)], sinks=found)
    assert figure.axes[1].get_title(loc="right") == "given sinks left out"


def test_a_box_takes_all_tiles_a_patch_those_of_one():
    trace = with_tiles(planted_trace())
    layout = trace.layout.images[0]
    everywhere = chosen_cells(layout, (0.0, 0.0, 10.0, 10.0), None, tile=None, frame=0)
    assert [cell.tile for cell in everywhere] == [0, 1]
    assert [cell.tile for cell in chosen_cells(layout, (0.0, 0.0, 10.0, 10.0), None, tile=1, frame=0)] == [1]
    frames = with_tiles(planted_trace(), frames=3).layout.images[0]
    second = chosen_cells(frames, (0.0, 0.0, 10.0, 10.0), None, tile=None, frame=1)
    assert [cell.frame for cell in second] == [1]


def test_both_backends_show_the_same_and_mark_words():
    trace, options = planted(), {"patches": [(1, 3), (0, 0)], "hallucinated": [2], "grounded": [0]}
    left = parts_of(plot.attending_words(trace, **options))
    hovering = plot.attending_words(trace, backend="plotly", **options)
    right = parts_of(hovering)
    assert left == right
    assert len(left[0].values) == 4  # the line, and three kinds of words
    assert [shape.type for shape in hovering.layout.shapes] == ["rect", "rect"]
    assert any("word2 (word 2)" in (one.text or ()) for one in hovering.data)


def test_the_image_is_in_colour_where_it_was_chosen():
    trace = dataclasses.replace(planted(), images=(planted().images[0].point(lambda _: 0),))
    coloured = dataclasses.replace(trace, images=(trace.images[0].copy(),))
    coloured.images[0].paste((200, 30, 30), (0, 0, 56, 56))
    shown = np.asarray(plot.attending_words(coloured, patches=[(1, 3)]).axes[0].images[0].get_array())
    assert shown[20, 49].tolist() == [200, 30, 30]
    assert len(set(shown[40, 10].tolist())) == 1


@pytest.mark.parametrize("width", [3.6, 8.4])
@pytest.mark.parametrize("count", [1, 30, 500])
def test_labels_stay_apart_and_the_highest_word_has_one(count, width):
    trace = with_image(with_answer(*(f" word{n}" for n in range(count))))
    weights = trace.attention.clone()
    weights[count // 2, ..., 1] = 0.9
    figure = plot.attending_words(dataclasses.replace(trace, attention=weights), patches=[(0, 0)], width=width)
    assert texts_outside(figure) == []
    assert overlapping_labels(figure) == []
    assert f"word{count // 2}" in [label.get_text() for label in figure.axes[1].get_xticklabels()]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "got neither box= nor patches="),
        ({"box": (0.0, 0.0, 1.0, 1.0), "patches": [(0, 0)]}, "got box= and patches="),
        ({"box": (90.0, 0.0, 99.0, 1.0)}, "left, top, right, bottom within 56 x 56 pixels"),
        ({"patches": [(4, 0)]}, r"got patches \[\(4, 0\)\]; expected: \(row, column\) pairs from \(0, 0\) to \(3, 3\)"),
        ({"patches": []}, "got no patches"),
        ({"patches": [(0, 0)], "image_index": 1}, "got image 1; expected: 0 to 0"),
        ({"patches": [(0, 0)], "hallucinated": ["zebra"]}, "zebra"),
    ],
)
def test_what_is_not_there_is_refused(options, text):
    with pytest.raises(ModelInputError, match=text):
        plot.attending_words(planted(), **options)


def test_an_unknown_geometry_is_refused_with_its_reason():
    trace = planted_trace()
    unknown = ImageLayout(cells=trace.layout.images[0].cells, reason="a resampler mixes the patches")
    trace = dataclasses.replace(trace, layout=Layout(kinds=trace.layout.kinds, images=(unknown,)))
    with pytest.raises(GeometryError, match="a resampler mixes the patches"):
        plot.attending_words(trace, patches=[(0, 0)])


def test_undefined_attention_is_told():
    trace = planted()
    weights = trace.attention.clone()
    weights[1, ..., 1] = torch.nan
    figure = plot.attending_words(dataclasses.replace(trace, attention=weights), patches=[(0, 0)])
    assert figure.axes[1].get_title(loc="right") == "not defined for 1 of 6 words"
