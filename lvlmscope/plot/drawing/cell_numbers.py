"""Numbers written into the cells of a map."""

from typing import TYPE_CHECKING

import numpy as np

from lvlmscope.plot.figure_style import add_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["write_numbers"]

_SMALLEST, _LARGEST = 5.0, 9.0  # points
_GLYPH_WIDTH, _GLYPH_HEIGHT = 0.64, 1.35  # of the font size: digits, and a line


def write_numbers(ax: "Axes", drawn: "AxesImage", values: np.ndarray) -> None:
    """Writes each defined cell's value; says so where the cells are too small for it.

    Args:
        ax: Where.
        drawn: The map, for its colours: numbers are white on dark ones, black on bright ones.
        values: ``[row, column]``; those of the map itself or others.
    """
    figure = ax.get_figure(root=True)
    finite = values[np.isfinite(values)]
    if figure is None or not finite.size:
        return
    figure.draw_without_rendering()  # the layout gives the axes their size only now
    most = float(np.abs(finite).max())
    decimals = int(min(max(0, 1 - np.floor(np.log10(most))), 4)) if most else 0
    longest = max(len(f"{value:.{decimals}f}") for value in finite)
    box = ax.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    wide, high = 72 * box.width / values.shape[1], 72 * box.height / values.shape[0]
    points = min(wide / (longest * _GLYPH_WIDTH), high / _GLYPH_HEIGHT, _LARGEST)
    if points < _SMALLEST:
        add_note(ax, "no numbers: the cells are too small for them at this width")
        return
    under: np.ndarray = np.ma.filled(np.ma.asarray(drawn.get_array(), dtype=float), 0.0)
    colours = np.asarray(drawn.cmap(drawn.norm(np.where(np.isfinite(under), under, 0.0))))
    shades = colours[..., :3] @ np.array([0.3, 0.59, 0.11])
    for row, column in np.argwhere(np.isfinite(values)):
        colour = "black" if shades[row, column] > 0.5 else "white"
        text = f"{values[row, column]:.{decimals}f}"
        ax.text(column, row, text, ha="center", va="center", fontsize=points, color=colour)
