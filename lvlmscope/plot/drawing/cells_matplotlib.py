"""Maps of cells in matplotlib, as their descriptions say."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.data.colour_scale import Scale
from lvlmscope.plot.data.panels import CellPanel
from lvlmscope.plot.drawing.plots_matplotlib import label_axis
from lvlmscope.plot.figure_style import add_note, inscription, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["add_bars", "draw_cells"]

_UP: Final = 8.0  # inches for the title of the vertical axis, which is not broken


def draw_cells(ax: "Axes", panel: CellPanel, *, width: float) -> "list[AxesImage]":
    """Draws a map, its ticks and texts.

    Args:
        ax: Where.
        panel: What.
        width: Inches for texts.

    Returns:
        What colour bars are made from: the map, and the column that has a scale of its own.
    """
    from matplotlib.patches import Rectangle

    rows, columns = panel.cells.shape
    ends = (rows - 0.5, -0.5) if panel.up.reversed else (-0.5, rows - 0.5)
    drawn = [_draw(ax, panel.part(column=False), panel.scale, (-0.5, columns - 0.5, *ends), panel.up.reversed)]
    if panel.own is not None:
        place = panel.own.column
        only = panel.cells[:, place : place + 1]
        drawn.append(_draw(ax, only, panel.own.scale, (place - 0.5, place + 0.5, *ends), panel.up.reversed))
        ax.set_xlim(-0.5, columns - 0.5)
    ax.spines[:].set_visible(False)
    if panel.title:
        ax.set_title(wrapped(inscription(panel.title), inches=width * 0.8, points=10.5))
    label_axis(ax, "x", panel.across, inches=width)
    label_axis(ax, "y", panel.up, inches=_UP)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(*ends)
    for line in panel.steps:
        for colour, thickness in (("black", 3.2), ("white", 1.8)):  # seen on any colour
            edges = np.repeat(np.arange(rows + 1) - 0.5, 2)[1:-1]
            ax.plot(np.repeat(line, 2) - 0.5, edges, color=colour, linewidth=thickness, solid_joinstyle="miter")
    for row, column in [] if panel.framed is None else np.argwhere(panel.framed):
        corner = (column - 0.47, row - 0.47)
        ax.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor="black", linewidth=1.8))
    if panel.centred:
        add_note(ax, panel.centred, centred=True)
    return drawn


def _draw(ax: "Axes", cells: np.ndarray, scale: Scale, extent: Any, top: bool) -> "AxesImage":
    import matplotlib as mpl

    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    limits: dict[str, Any] = {"vmin": scale.low, "vmax": scale.high, "aspect": "auto", "interpolation": "nearest"}
    values = np.ma.masked_invalid(cells)
    return ax.imshow(values, cmap=colours, origin="upper" if top else "lower", extent=extent, **limits)


def add_bars(ax: "Axes", panel: CellPanel, drawn: "list[AxesImage]", *, along: float, below: bool) -> None:
    """A colour bar for the map, and one for the column that has a scale of its own.

    Args:
        ax: The map.
        panel: What it shows.
        drawn: What `draw_cells` gave.
        along: Inches for the text along a bar.
        below: Whether bars are below the map, else at its right.
    """
    parts = [(panel.scale, panel.label)] + ([(panel.own.scale, panel.own.label)] if panel.own is not None else [])
    for image, (scale, label) in reversed(list(zip(drawn, parts, strict=True))):  # the last one stands nearest
        extend = "max" if scale.beyond else "neither"
        bar = ax.figure.colorbar(image, ax=ax, location="bottom" if below else "right", extend=extend)
        bar.set_label(wrapped(inscription(label), inches=max(along, 1.4)))
