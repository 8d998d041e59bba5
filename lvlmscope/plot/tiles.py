"""Attention of tokens whose boxes lie over each other, added up where they do."""

from collections.abc import Sequence

import numpy as np

from lvlmscope.traces.token_layout import Box

__all__ = ["add_up", "overlapping"]


def overlapping(boxes: Sequence[Box], size: tuple[int, int]) -> bool:
    """Whether boxes cover more than the picture: tiles over an overview, or tokens that share patches.

    Args:
        boxes: Left, top, right, bottom.
        size: Width and height of the picture.

    Examples:
        >>> overlapping([(0.0, 0.0, 4.0, 4.0), (4.0, 0.0, 8.0, 4.0)], (8, 4))
        False
    """
    return sum(_area(box) for box in boxes) > size[0] * size[1] * (1 + 1e-6)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def add_up(boxes: Sequence[Box], shares: np.ndarray, unit: float) -> tuple[list[Box], np.ndarray]:
    r"""Attention on each part of the picture that no box's edge cuts, as share of 1 per `unit` of area.

    Each token's share is spread evenly over its box: part p gets $\sum_k a_k \, u / A_k$ over the tokens k that cover
    it, with the box's area A and the unit u. Summed over the parts' areas, divided by u, it is the sum of the shares.

    Args:
        boxes: One per token.
        shares: One per token; not finite where not defined, and then so are the parts that the token covers.
        unit: Square pixels.

    Returns:
        Boxes of the parts that some token covers, in reading order, and their values.

    Examples:
        >>> parts, values = add_up([(0.0, 0.0, 4.0, 2.0), (0.0, 0.0, 2.0, 2.0)], np.array([0.5, 0.25]), 4.0)
        >>> parts, values.tolist()
        ([(0.0, 0.0, 2.0, 2.0), (2.0, 0.0, 4.0, 2.0)], [0.5, 0.25])
    """
    edges = np.round(np.asarray(boxes, dtype=float), 6)  # edges of two tiles may differ by rounding
    xs, ys = np.unique(edges[:, [0, 2]]), np.unique(edges[:, [1, 3]])
    values, covered = np.zeros((len(ys) - 1, len(xs) - 1)), np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    for (left, top, right, bottom), share in zip(edges, shares, strict=True):
        part = (slice(*np.searchsorted(ys, (top, bottom))), slice(*np.searchsorted(xs, (left, right))))
        values[part] += share * unit / ((right - left) * (bottom - top))
        covered[part] = True
    parts = [
        (float(xs[column]), float(ys[row]), float(xs[column + 1]), float(ys[row + 1]))
        for row, column in np.argwhere(covered)
    ]
    return parts, values[covered]
