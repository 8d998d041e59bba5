"""Where a trace's image keys lie: boxes over each image, or a grid in prompt order where that is not known."""

import math
from dataclasses import dataclass

from lvlmscope.traces.token_layout import Box, Cell, ImageLayout
from lvlmscope.traces.trace import Trace

__all__ = ["ImagePanel", "image_key_numbers", "image_panels_of"]

_SIDE = 16.0  # pixels of a cell whose place is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePanel:
    """One image, overview, set of tiles or video frame, and the image keys over it.

    Attributes:
        name: As the page shows it.
        image_index: Which image of the prompt, from 0; None where the cells have no known place in one.
        size: Width and height that the boxes refer to.
        boxes: Left, top, right, bottom of each cell.
        cells: Position of each cell among the trace's image keys.
        note: Shown under it; may be empty.
    """

    name: str
    image_index: int | None
    size: tuple[float, float]
    boxes: tuple[Box, ...]
    cells: tuple[int, ...]
    note: str = ""


def image_key_numbers(trace: Trace) -> list[int]:
    """Absolute positions of the image keys, in order: the axis of every map."""
    return [int(key) for key in trace.image_keys.nonzero().flatten()]


def image_panels_of(trace: Trace) -> tuple[ImagePanel, ...]:
    """Every panel that a map can be drawn on; none for a trace without image keys.

    Returns:
        Panels, overviews before their tiles, images in the order of the prompt.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> [(panel.name, panel.boxes[0]) for panel in image_panels_of(planted_trace())]
    [('image', (0.0, 0.0, 14.0, 14.0))]
    """
    keys = image_key_numbers(trace)
    order = {key: position for position, key in enumerate(keys)}
    if keys and not trace.layout.images:
        return (_in_order("image tokens", list(range(len(keys))), "their place in the image is not known"),)
    several = len(trace.layout.images) > 1
    found: list[ImagePanel] = []
    for number, image in enumerate(trace.layout.images):
        name = f"image {number + 1}" if several else "image"
        found += _of_image(image, number, name, order)
    return tuple(found)


def _of_image(image: ImageLayout, number: int, name: str, order: dict[int, int]) -> list[ImagePanel]:
    placed = [] if image.reason else [cell for cell in image.placed() if cell.key in order]
    if image.size is None or not placed:
        known = [order[c.key] for c in image.cells if c.key in order]
        reason = image.reason or "its tokens have no place in the image"
        return [_in_order(name, known, reason)] if known else []
    groups: dict[tuple[int, bool], list[Cell]] = {}
    for cell in placed:
        groups.setdefault((cell.frame, cell.tile > 0), []).append(cell)
    frames = len({frame for frame, _ in groups}) > 1
    tiled = any(is_tile for _, is_tile in groups)
    return [
        ImagePanel(
            name=name + (f", frame {frame + 1}" if frames else "") + (_kind(is_tile) if tiled else ""),
            image_index=number,
            size=(float(image.size[0]), float(image.size[1])),
            boxes=tuple(c.box for c in cells if c.box is not None),
            cells=tuple(order[c.key] for c in cells),
        )
        for (frame, is_tile), cells in sorted(groups.items())
    ]


def _kind(is_tile: bool) -> str:
    return ", tiles" if is_tile else ", overview"


def _in_order(name: str, cells: list[int], reason: str) -> ImagePanel:
    wide = math.ceil(math.sqrt(len(cells)))
    boxes = tuple(
        (n % wide * _SIDE, n // wide * _SIDE, n % wide * _SIDE + _SIDE, n // wide * _SIDE + _SIDE)
        for n in range(len(cells))
    )
    size = (wide * _SIDE, math.ceil(len(cells) / wide) * _SIDE)
    note = f"{reason}: image tokens in prompt order, row by row, not at their place in the image"
    return ImagePanel(name=name, image_index=None, size=size, boxes=boxes, cells=tuple(cells), note=note)
