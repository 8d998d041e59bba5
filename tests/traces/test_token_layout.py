"""Layouts of a prompt with one of each: images, a video, tiles, frames, newlines; boxes that touch; files."""

import json
from dataclasses import fields, replace

import pytest
import torch
from PIL import Image

from lvlmscope.diagnostics import planted_trace
from lvlmscope.traces.layout_images import image_of_layout, same_aspect
from lvlmscope.traces.token_layout import Cell, ImageLayout, Layout

WIDE, TALL = Image.new("RGB", (60, 20)), Image.new("RGB", (20, 60))


def grid(first: int, image: int, rows: int, columns: int, *, side: float = 10.0, tile: int = 0) -> tuple[Cell, ...]:
    """Cells in reading order, square boxes side by side."""
    return tuple(
        Cell(
            key=first + row * columns + column,
            image=image,
            tile=tile,
            row=row,
            column=column,
            box=(column * side, row * side, (column + 1) * side, (row + 1) * side),
        )
        for row in range(rows)
        for column in range(columns)
    )


def one_of_each() -> Layout:
    """A wide image of two tiles with a newline, a video of two frames, and a tall image; 22 keys."""
    newline = Cell(key=9, image=0, role="newline", tile=1, row=1)
    wide = ImageLayout(cells=(*grid(1, 0, 1, 2), *grid(3, 0, 2, 3, tile=1), newline), size=(60, 20), grid=(1, 2))
    frames = tuple(
        replace(cell, frame=frame, key=cell.key + 2 * frame) for frame in (0, 1) for cell in grid(11, 1, 1, 2)
    )
    clip = ImageLayout(cells=frames, size=(20, 10), grid=(1, 2), pixels="input")
    separator = Cell(key=19, image=2, role="separator")
    tall = ImageLayout(cells=(*grid(16, 2, 3, 1), separator), size=(20, 60), grid=(3, 1))
    lost = ImageLayout(cells=(Cell(key=20, image=3, role="query"),), reason="no grid")
    kinds = ("system", *["image"] * 9, "question", *["image"] * 4, "question", *["image"] * 5, "answer")
    return Layout(kinds=kinds, images=(wide, clip, tall, lost))  # type: ignore[arg-type]


def test_every_field_of_every_cell_comes_back_from_json() -> None:
    layout = one_of_each()
    cells = [cell for image in layout.images for cell in image.cells]
    for field in fields(Cell):
        assert len({getattr(cell, field.name) for cell in cells}) > 1, field.name
    back = Layout.from_json(json.loads(json.dumps(layout.to_json())))
    assert back == layout
    assert {type(image.size) for image in back.images} == {tuple, type(None)}


def test_keys_of_one_image_are_no_others() -> None:
    layout = one_of_each()
    found = [layout.keys_of_image(number).nonzero().flatten().tolist() for number in range(4)]
    assert found == [list(range(1, 10)), [11, 12, 13, 14], [16, 17, 18, 19], [20]]
    assert torch.equal(torch.stack([layout.keys_of_image(n) for n in range(4)]).any(0), layout.keys_of("image"))
    assert [cell.key for cell in layout.images[0].patches(tile=1)] == [3, 4, 5, 6, 7, 8]
    assert [cell.key for cell in layout.images[1].patches(frame=1)] == [13, 14]
    assert layout.cell_of(13) == layout.images[1].cells[2]
    assert layout.cell_of(10) is None


def test_boxes_that_touch_share_no_pixel() -> None:
    layout = one_of_each()
    inner = (10.0, 10.0, 20.0, 20.0)  # exactly one cell of tile 1; touches the cells around it
    assert layout.keys_in(0, inner).nonzero().flatten().tolist() == [7]
    for grown, keys in (
        ((9.9, 10.0, 20.0, 20.0), [6, 7]),
        ((10.0, 10.0, 20.1, 20.0), [7, 8]),
        ((10.0, 9.9, 20.0, 20.0), [2, 4, 7]),
        ((10.0, 20.0, 20.0, 30.0), []),
    ):
        assert layout.keys_in(0, grown).nonzero().flatten().tolist() == keys
    assert layout.keys_in(2, (0.0, 9.0, 10.0, 11.0)).nonzero().flatten().tolist() == [16, 17]  # of that image alone


def test_an_edge_belongs_to_the_token_right_of_or_below_it() -> None:
    layout = one_of_each()
    for x, y, keys in (
        (10.0, 0.0, [2, 4]),
        (0.0, 10.0, [6]),
        (10.0, 10.0, [7]),
        (9.9, 9.9, [1, 3]),
        (30.0, 0.0, []),
        (0.0, 20.0, []),
    ):
        assert layout.keys_at(0, x, y).nonzero().flatten().tolist() == keys


def test_a_choice_of_keys_is_numbered_anew_in_its_order() -> None:
    layout = one_of_each()
    chosen = layout.select([7, 1, 12, 13, 18, 21])
    assert chosen.kinds == ("image", "image", "image", "image", "image", "answer")
    places = [[(cell.key, cell.tile, cell.frame, cell.row) for cell in image.cells] for image in chosen.images]
    assert places == [[(1, 0, 0, 0), (0, 1, 0, 1)], [(2, 0, 0, 0), (3, 0, 1, 0)], [(4, 0, 0, 2)], []]
    assert [image.size for image in chosen.images] == [image.size for image in layout.images]


def test_boxes_in_pixels_of_an_image_lie_on_their_own_image() -> None:
    layout = one_of_each()
    trace = planted_trace(side=2)
    trace = replace(trace, layout=replace(trace.layout, images=layout.images[:3]), images=(WIDE, TALL))
    assert [image_of_layout(trace, number) for number in range(3)] == [WIDE, None, TALL]
    assert image_of_layout(replace(trace, images=(WIDE,)), 2) is None


@pytest.mark.parametrize(
    ("size", "same"),
    [((120, 40), True), ((60.5, 20.0), True), ((60.7, 20.0), False), ((20, 60), False), ((59.3, 20.0), False)],
)
def test_an_aspect_may_differ_by_one_per_cent(size: tuple[float, float], same: bool) -> None:
    assert same_aspect(WIDE, size) is same
