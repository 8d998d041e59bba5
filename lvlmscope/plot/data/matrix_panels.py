"""A matrix of words, keys or layers as a panel."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from lvlmscope.plot.data.colour_scale import Scale
from lvlmscope.plot.data.panels import Axis, CellColumn, CellPanel
from lvlmscope.plot.figure_style import thinned

__all__ = ["matrix_height", "matrix_panel"]

_PITCH: Final = 0.17  # inches between two labels
_SHARE: Final = 0.72  # of the figure that is left for the map beside its colour bar and long labels


def matrix_height(rows: int) -> float:
    """Inches that a matrix of words needs: a row of at least 0.2 inch, between a strip and a page."""
    return float(min(max(0.2 * rows + 1.9, 2.9), 9.5))


def matrix_panel(
    cells: np.ndarray,
    scale: Scale,
    names: tuple[Sequence[Any], Sequence[Any]],
    *,
    texts: tuple[str, str, str, str],
    called: tuple[str, str],
    size: tuple[float, float],
    kept: Sequence[int] = (),
    own: CellColumn | None = None,
) -> CellPanel:
    """A map of rows and columns with names; words run down from the top, numbers up from the bottom.

    Args:
        cells: Values ``[row, column]``.
        scale: Range and colours.
        names: Of the rows and of the columns.
        texts: Title, titles of the axes across and up, and label of the colour bar.
        called: What a row and a column are.
        size: Inches of the figure.
        kept: Columns that are labelled however many there are.
        own: A column with a scale of its own.
    """
    title, across, up, label = texts
    words, cells = any(isinstance(name, str) for name in names[0]), np.where(np.isfinite(cells), cells, np.nan)
    missing = int((~np.isfinite(cells)).sum())
    nothing = missing == cells.size
    why = "grey: not defined, or not yet written" if words else "grey: not defined"
    note = f"\n{why} ({missing} of {cells.size} cells)" if missing and not nothing else ""
    most = [max(2, int(inches * _SHARE / _PITCH)) for inches in size]
    return CellPanel(
        title=title,
        across=Axis(
            label=across + note,
            words=tuple(map(str, names[1])),
            shown=_shown(len(names[1]), most[0], kept),
            upright=words,
        ),
        up=Axis(label=up, words=tuple(map(str, names[0])), shown=_shown(len(names[0]), most[1], ()), reversed=words),
        cells=cells,
        scale=scale,
        label=label,
        called=called,
        own=own,
        centred="not defined anywhere" if nothing else "",
    )


def _shown(count: int, most: int, kept: Sequence[int]) -> tuple[int, ...]:
    """Evenly spaced positions, and those that are kept with none close to them."""
    chosen, apart = thinned(count, most), count / most
    return tuple(sorted({*kept, *(n for n in chosen if all(abs(n - one) >= apart for one in kept))}))
