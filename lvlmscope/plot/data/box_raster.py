"""Values of boxes as a grid or a raster of the image, and a raster smoothed for the eye."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from lvlmscope.traces.token_layout import Box

__all__ = ["add_up", "gridded", "overlapping", "rastered", "smoothed"]

_MOST: Final = 240  # raster points along the longer side


def gridded(boxes: Sequence[Box], values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes that do not overlap as one matrix with the positions of its edges.

    Args:
        boxes: Left, top, right, bottom.
        values: One per box.

    Returns:
        Edges across ``[column + 1]`` and down ``[row + 1]``, and ``[row, column]``, NaN where there is no box.

    Examples:
        >>> across, down, cells = gridded([(0.0, 0.0, 4.0, 2.0), (4.0, 0.0, 6.0, 2.0)], np.array([0.5, 0.25]))
        >>> across.tolist(), cells.tolist()
        ([0.0, 4.0, 6.0], [[0.5, 0.25]])
    """
    edges = np.round(np.asarray(boxes, dtype=float), 6)
    across, down = np.unique(edges[:, [0, 2]]), np.unique(edges[:, [1, 3]])
    cells = np.full((len(down) - 1, len(across) - 1), np.nan)
    for (left, top, right, bottom), value in zip(edges, values, strict=True):
        cells[slice(*np.searchsorted(down, (top, bottom))), slice(*np.searchsorted(across, (left, right)))] = value
    return across, down, cells


def rastered(boxes: Sequence[Box], values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The value at each point of an even raster over the image ``[row, column]``, NaN where there is no box.

    Args:
        boxes: Boxes that do not overlap.
        values: One per box.
        size: Width and height of the image.
    """
    across, down, cells = gridded(boxes, values)
    wide, high = (max(2, round(_MOST * side / max(size))) for side in size)
    points = [(np.arange(count) + 0.5) * side / count for count, side in ((wide, size[0]), (high, size[1]))]
    columns, rows = (np.searchsorted(e, p, side="right") - 1 for e, p in ((across, points[0]), (down, points[1])))
    framed = np.pad(cells, ((0, 1), (0, 1)), constant_values=np.nan)  # index -1 and the last: outside of all boxes
    found: np.ndarray = framed[np.ix_(rows, columns)]
    return found


def smoothed(field: np.ndarray, deviation: float) -> np.ndarray:
    """A raster after a Gaussian blur that takes no account of points without a value, which stay without.

    At the border the kernel is cut and scaled up again, so sums are kept only within the image. For the eye: a value
    read off it is not that of any patch.

    Args:
        field: ``[row, column]``.
        deviation: Standard deviation in raster points.

    Examples:
        >>> smoothed(np.array([[0.5, 0.5, np.nan]]), 1.0).round(6).tolist()
        [[0.5, 0.5, nan]]
    """
    known = np.isfinite(field)
    down, across = (np.exp(-((np.arange(n)[:, None] - np.arange(n)) ** 2) / (2 * deviation**2)) for n in field.shape)
    total = down @ np.where(known, field, 0.0) @ across
    return np.where(known, total / np.maximum(down @ known.astype(float) @ across, 1e-12), np.nan)


def overlapping(boxes: Sequence[Box], size: tuple[int, int]) -> bool:
    """Whether boxes cover more than the image: tiles over an overview, or tokens that share patches.

    Args:
        boxes: Left, top, right, bottom.
        size: Width and height of the image.

    Examples:
        >>> overlapping([(0.0, 0.0, 4.0, 4.0), (4.0, 0.0, 8.0, 4.0)], (8, 4))
        False
    """
    return sum(_area(box) for box in boxes) > size[0] * size[1] * (1 + 1e-6)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def add_up(boxes: Sequence[Box], shares: np.ndarray, unit: float) -> tuple[list[Box], np.ndarray]:
    r"""Attention on each part of the image that no box's edge cuts, as share of 1 per `unit` of area.

    Each token's share is spread evenly over its box: part p gets $\sum_k a_k \, u / A_k$ over the tokens k that cover
    it, with the box's area A and the unit u. Summed over the parts' areas, divided by u, it is the sum of the shares.

    Args:
        boxes: One per token.
        shares: One per token ``[box, ...]``; not finite where not defined, and then so are the parts that the token
            covers.
        unit: Square pixels.

    Returns:
        Boxes of the parts that some token covers, in reading order, and their values ``[part, ...]``.

    Examples:
        >>> parts, values = add_up([(0.0, 0.0, 4.0, 2.0), (0.0, 0.0, 2.0, 2.0)], np.array([0.5, 0.25]), 4.0)
        >>> parts, values.tolist()
        ([(0.0, 0.0, 2.0, 2.0), (2.0, 0.0, 4.0, 2.0)], [0.5, 0.25])
    """
    edges = np.round(np.asarray(boxes, dtype=float), 6)  # edges of two tiles may differ by rounding
    xs, ys = np.unique(edges[:, [0, 2]]), np.unique(edges[:, [1, 3]])
    grid = (len(ys) - 1, len(xs) - 1)
    values, covered = np.zeros((*grid, *shares.shape[1:])), np.zeros(grid, dtype=bool)
    for (left, top, right, bottom), share in zip(edges, shares, strict=True):
        part = (slice(*np.searchsorted(ys, (top, bottom))), slice(*np.searchsorted(xs, (left, right))))
        values[part] += share * unit / ((right - left) * (bottom - top))
        covered[part] = True
    parts = [
        (float(xs[column]), float(ys[row]), float(xs[column + 1]), float(ys[row + 1]))
        for row, column in np.argwhere(covered)
    ]
    return parts, values[covered]
