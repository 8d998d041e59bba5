"""The maps of all layers and heads beside each other, one tile each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lvlmscope.plot.data.box_raster import add_up, gridded, overlapping
from lvlmscope.plot.data.colour_scale import Scale, scales_of
from lvlmscope.plot.data.image_boxes import largest_area
from lvlmscope.plot.data.overlay_maps import OverlayStyle, shared_bar
from lvlmscope.traces.token_layout import Box

__all__ = ["HeadMosaic", "head_mosaic"]

_WIDEST: Final = 1400  # points across all tiles: what a page shows
_SAMPLED: Final = 32  # points along the longer side of an image whose patches are uneven


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadMosaic:
    """What the mosaic shows.

    Attributes:
        title: Over it.
        tiles: From 0, the low end of the scale, to 1 ``[layer, head, row, column]``; NaN where not defined.
        shares: Attention of each head on the tokens drawn ``[layer, head]``.
        layers: Layer numbers, from the bottom.
        heads: Head numbers, from the left.
        bar: Range and colours of the colour bar.
        label: Of the colour bar.
        note: Under the label; may be empty.
        aspect: Height of the image over its width.
    """

    title: str
    tiles: np.ndarray
    shares: np.ndarray
    layers: list[int]
    heads: list[int]
    bar: Scale
    label: str
    note: str
    aspect: float


def head_mosaic(
    values: np.ndarray,
    boxes: list[Box],
    size: tuple[int, int],
    style: OverlayStyle,
    *,
    axes: tuple[Sequence[int], Sequence[int]],
    texts: tuple[str, str],
) -> HeadMosaic:
    """Tiles of all heads; values of overlapping tokens are added up, and the label says so.

    Args:
        values: Attention on each token drawn ``[layer, head, token]``.
        boxes: One per token.
        size: Width and height of the image.
        style: Scale and colours.
        axes: Layer and head numbers.
        texts: Title, and label of the colour bar.
    """
    (title, label), (layers, heads) = texts, values.shape[:2]
    flat = values.reshape(layers * heads, -1).T
    if overlapping(boxes, size):
        boxes, flat = add_up(boxes, flat, largest_area(boxes))
        label = label.replace("on a patch", "per largest patch")
    found = _tokens_at(boxes, size)
    tiles = np.where(found[..., None] < 0, np.nan, flat[found]).reshape(*found.shape, layers, heads)
    tiles, note = _reduced(np.moveaxis(tiles, (2, 3), (0, 1)))
    scales = scales_of(list(tiles.reshape(layers * heads, -1)), style.scale, vmax=style.vmax, colours=style.colours)
    highs = np.array([scale.high for scale in scales]).reshape(layers, heads, 1, 1)
    bar, beyond = shared_bar(scales)
    note = "; ".join(filter(None, (note, beyond.replace("panel", "tile"))))
    return HeadMosaic(
        title=title,
        tiles=np.clip(tiles / highs, 0.0, 1.0),
        shares=np.nansum(values, 2),
        layers=list(axes[0]),
        heads=list(axes[1]),
        bar=bar,
        label=label,
        note=note,
        aspect=size[1] / size[0],
    )


def _tokens_at(boxes: list[Box], size: tuple[int, int]) -> np.ndarray:
    """Which box lies at each point of an even grid over the image ``[row, column]``; -1 where none does.

    Patches of one size are the grid themselves; others are looked up at points.
    """
    across, down, cells = gridded(boxes, np.arange(len(boxes), dtype=float))
    if not all(np.allclose(np.diff(edges), edges[1] - edges[0]) for edges in (across, down)):
        counts = [max(2, round(_SAMPLED * side / max(size))) for side in size]
        columns, rows = (
            np.clip(np.searchsorted(edges, (np.arange(n) + 0.5) * side / n, side="right") - 1, 0, len(edges) - 2)
            for edges, n, side in zip((across, down), counts, size, strict=True)
        )
        cells = cells[np.ix_(rows, columns)]
    found: np.ndarray = np.nan_to_num(cells, nan=-1.0).astype(int)
    return found


def _reduced(tiles: np.ndarray) -> tuple[np.ndarray, str]:
    """Means over blocks of points where all tiles together have more points than a page shows."""
    rows, columns = tiles.shape[2:]
    block = min(-(-tiles.shape[1] * columns // _WIDEST), rows, columns)
    if block <= 1:
        return tiles, ""
    down, across = -(-rows // block), -(-columns // block)
    padded = np.pad(
        tiles, ((0, 0), (0, 0), (0, down * block - rows), (0, across * block - columns)), constant_values=np.nan
    )
    blocks = padded.reshape(*tiles.shape[:2], down, block, across, block)
    known = np.isfinite(blocks)
    count = known.sum((3, 5))
    total = np.where(known, blocks, 0.0).sum((3, 5))
    means = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means, f"each map as {down} x {across} means of its {rows} x {columns} patches"
