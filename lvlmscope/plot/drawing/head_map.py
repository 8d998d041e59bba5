"""A layer x head map in either backend."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.data.colour_scale import Scale
from lvlmscope.plot.data.head_order import HeadOrder
from lvlmscope.plot.data.signal_arrays import axis_numbers
from lvlmscope.plot.data.unit_labels import axis_label
from lvlmscope.plot.drawing.plotly_figures import hover_map
from lvlmscope.plot.figure_style import LAYER_AXIS, WIDTH, add_note, inscription, mark_positions, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["draw_map", "hovering_map", "map_height", "ordered_cells", "undefined_note"]


def map_height(values: xr.DataArray, width: float) -> float:
    """Inches that a map of this many layers needs: rows of at least 0.1 inch, between a strip and a page."""
    return float(min(max(width * 0.5, 0.11 * values.sizes["layer"] + 1.2, 2.8), 9.5))


def draw_map(ax: "Axes", values: xr.DataArray, scale: Scale, order: HeadOrder | None = None) -> "AxesImage":
    """Draws cells, ticks and axis titles; says what is undefined.

    Args:
        ax: Where.
        values: Dims (layer, head).
        scale: Range and colours.
        order: Order of the heads; None for their numbers.

    Returns:
        What a colour bar is made from.
    """
    import matplotlib as mpl

    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    cells = np.ma.masked_invalid(ordered_cells(values, order))
    drawn = ax.imshow(
        cells, cmap=colours, vmin=scale.low, vmax=scale.high, origin="lower", aspect="auto", interpolation="nearest"
    )
    ax.spines[:].set_visible(False)
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    mark_positions(ax, "x", _columns(values, order), most=max(2, int(box.width / 0.45)))
    mark_positions(ax, "y", axis_numbers(values, "layer"), most=max(2, int(box.height / 0.28)))
    ax.set_xlabel(wrapped(inscription(_across(order)), inches=max(box.width * 0.9, 1.5)))
    ax.set_ylabel(LAYER_AXIS)
    if order is not None:
        _divide(ax, order)
    if note := undefined_note(values):
        add_note(ax, note, centred=not cells.count())
    return drawn


def ordered_cells(values: xr.DataArray, order: HeadOrder | None) -> np.ndarray:
    """The values ``[layer, position]``, each layer's heads in their order."""
    cells = values.to_numpy().astype(float)
    return cells if order is None else np.take_along_axis(cells, order.heads, 1)


def _across(order: HeadOrder | None) -> str:
    return order.title if order is not None and order.title else "query head"


def _columns(values: xr.DataArray, order: HeadOrder | None) -> list[int]:
    """Head numbers, or ranks from 1 where each layer has an order of its own."""
    if order is None or not order.title:
        return axis_numbers(values, "head")
    return list(range(1, values.sizes["head"] + 1))


def _divide(ax: "Axes", order: HeadOrder) -> None:
    """White lines with a dark edge between groups of heads: seen on any colour."""
    up = _steps_up(len(order.heads))
    for ends in order.ends.T:
        for colour, thickness in (("black", 3.2), ("white", 1.8)):
            ax.plot(np.repeat(ends, 2) - 0.5, up, color=colour, linewidth=thickness, solid_joinstyle="miter")


def undefined_note(values: xr.DataArray) -> str:
    """What a reader must know about cells without a value; empty when there are none."""
    missing = int((~np.isfinite(values.to_numpy().astype(float))).sum())
    if missing == values.size:
        return "not defined for any head"
    return f"grey: not defined ({missing} of {values.size} heads)" if missing else ""


def _steps_up(layers: int) -> np.ndarray:
    """Where a line along the lower and the upper edge of each layer's cells turns."""
    return np.repeat(np.arange(layers + 1) - 0.5, 2)[1:-1]


def hovering_map(
    values: xr.DataArray, scale: Scale, title: str, *, width: float = WIDTH, order: HeadOrder | None = None
) -> Any:
    """The map as a plotly figure.

    Args:
        values: Dims (layer, head).
        scale: Range and colours.
        title: Over it.
        width: Inches of the matplotlib figure beside it.
        order: Order of the heads; None for their numbers.
    """
    note, across = undefined_note(values), wrapped(_across(order), inches=width * 0.8)
    texts = {"title": title, "across": across + (f"\n{note}" if note else ""), "up": LAYER_AXIS}
    names = (axis_numbers(values, "layer"), _columns(values, order))
    heads = None if order is None else np.array(axis_numbers(values, "head"))[order.heads]
    options: dict[str, Any] = {
        "label": axis_label(values),
        "size": (width, map_height(values, width)),
    }
    called = ("layer", "head")
    figure = hover_map(
        ordered_cells(values, order), scale, names=names, called=called, column_names=heads, **options, **texts
    )
    for ends in order.ends.T if order is not None else ():
        for colour, thickness in (("black", 4), ("white", 2)):
            line = {"line": {"color": colour, "width": thickness}, "mode": "lines", "showlegend": False}
            figure.add_scatter(x=np.repeat(ends, 2) - 0.5, y=_steps_up(ends.size), hoverinfo="skip", **line)
    rows, columns = values.shape  # a line would widen the range, and show cells that are not there
    figure.update_layout({"xaxis.range": [-0.5, columns - 0.5], "yaxis.range": [-0.5, rows - 0.5]})
    return figure
