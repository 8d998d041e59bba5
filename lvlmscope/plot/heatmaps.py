"""``heatmap``: one number for each layer and head."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.inscribing import write_numbers
from lvlmscope.plot.interactive import check_backend, hover_map
from lvlmscope.plot.ordering import HeadOrder, head_order
from lvlmscope.plot.quantities import Scale, layer_by_head, name_of, scale_of
from lvlmscope.plot.style import (
    LAYER_AXIS,
    WIDTH,
    add_note,
    inscription,
    is_narrow,
    mark_positions,
    new_figure,
    paper_style,
    quantity_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["draw_map", "heatmap", "hovering_map", "map_height", "undefined_note"]


def heatmap(
    signal: Any,
    *,
    numbers: bool = False,
    order: Literal["number", "value"] = "number",
    groups: xr.DataArray | None = None,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    title: str | None = None,
    width: float = WIDTH,
) -> Any:
    """Layer x head map of a signal, layer 0 at the bottom.

    Args:
        signal: A labelled array with dims layer and head (others are averaged over, and the title says so), what
            `lvlmscope.aggregate` gives by layer and head, or a trace: then each head's share of attention on the image,
            averaged over the answer.
        numbers: Write each value into its cell, where there is room; matplotlib only, plotly tells it on hover.
        order: Heads of each layer by `"number"`, or by `"value"`, the highest first.
        groups: A class for each (layer, head), such as `functional_heads` or `sensitive_heads` gives: heads of a class
            stand together in their layer, and a white line divides the classes.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw into; matplotlib only.
        title: Over the map; None tells the quantity.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: Not a trace nor a labelled array, an unknown order or backend, `ax` with plotly, or no image
            keys.
        ShapeError: The array has no dims layer and head, or an empty one; or groups of other dims.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> heatmap(planted_trace()).axes[0].get_ylabel()
        'decoder layer (0 at the bottom)'
    """
    check_backend("draw a heatmap", backend, ax)
    values, averaged = layer_by_head(signal, "draw a heatmap")
    name = name_of(values)
    heading = f"{name}, {averaged}" if averaged else name
    text = title if title is not None else heading[0].upper() + heading[1:]
    places = head_order(values, order, groups, "draw a heatmap")
    if backend == "plotly":
        return hovering_map(values, scale_of(values), text, width=width, places=places)
    with paper_style():
        if ax is None:
            ax = new_figure(width, map_height(values, width) + is_narrow(width)).subplots()
        drawn = draw_map(ax, values, scale_of(values), places)
        ax.set_title(wrapped(inscription(text), inches=width * 0.8, points=10.5))
        bar = ax.figure.colorbar(drawn, ax=ax, location="bottom" if is_narrow(width) else "right")
        bar.set_label(inscription(quantity_label(values.attrs, name_of(values))))
        if numbers:
            write_numbers(ax, drawn, _placed(values, places))
    return ax.get_figure(root=True)


def map_height(values: xr.DataArray, width: float) -> float:
    """Inches that a map of this many layers needs: rows of at least 0.1 inch, between a strip and a page."""
    return float(min(max(width * 0.5, 0.11 * values.sizes["layer"] + 1.2, 2.8), 9.5))


def draw_map(ax: "Axes", values: xr.DataArray, scale: Scale, places: HeadOrder | None = None) -> "AxesImage":
    """Draws cells, ticks and axis titles; says what is undefined.

    Args:
        ax: Where.
        values: Dims (layer, head).
        scale: Range and colours.
        places: Order of the heads; None for their numbers.

    Returns:
        What a colour bar is made from.
    """
    import matplotlib as mpl

    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    cells = np.ma.masked_invalid(_placed(values, places))
    drawn = ax.imshow(
        cells, cmap=colours, vmin=scale.low, vmax=scale.high, origin="lower", aspect="auto", interpolation="nearest"
    )
    ax.spines[:].set_visible(False)
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    mark_positions(ax, "x", _columns(values, places), most=max(2, int(box.width / 0.45)))
    mark_positions(ax, "y", _numbers(values, "layer"), most=max(2, int(box.height / 0.28)))
    ax.set_xlabel(wrapped(inscription(_across(places)), inches=max(box.width * 0.9, 1.5)))
    ax.set_ylabel(LAYER_AXIS)
    if places is not None:
        _divide(ax, places)
    if note := undefined_note(values):
        add_note(ax, note, centred=not cells.count())
    return drawn


def _placed(values: xr.DataArray, places: HeadOrder | None) -> np.ndarray:
    cells = values.to_numpy().astype(float)
    return cells if places is None else np.take_along_axis(cells, places.places, 1)


def _across(places: HeadOrder | None) -> str:
    return places.told if places is not None and places.told else "query head"


def _columns(values: xr.DataArray, places: HeadOrder | None) -> list[int]:
    """Head numbers, or ranks from 1 where each layer has an order of its own."""
    if places is None or not places.told:
        return _numbers(values, "head")
    return list(range(1, values.sizes["head"] + 1))


def _divide(ax: "Axes", places: HeadOrder) -> None:
    """White lines with a dark edge between groups of heads: seen on any colour."""
    up = _steps_up(len(places.places))
    for ends in places.ends.T:
        for colour, thickness in (("black", 3.2), ("white", 1.8)):
            ax.plot(np.repeat(ends, 2) - 0.5, up, color=colour, linewidth=thickness, solid_joinstyle="miter")


def _numbers(values: xr.DataArray, dim: str) -> list[int]:
    return [int(n) for n in values.coords[dim]] if dim in values.coords else list(range(values.sizes[dim]))


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
    values: xr.DataArray, scale: Scale, title: str, *, width: float = WIDTH, places: HeadOrder | None = None
) -> Any:
    """The map as a plotly figure.

    Args:
        values: Dims (layer, head).
        scale: Range and colours.
        title: Over it.
        width: Inches of the matplotlib figure beside it.
        places: Order of the heads; None for their numbers.
    """
    note, across = undefined_note(values), wrapped(_across(places), inches=width * 0.8)
    texts = {"title": title, "across": across + (f"\n{note}" if note else ""), "up": LAYER_AXIS}
    names = (_numbers(values, "layer"), _columns(values, places))
    heads = None if places is None else np.array(_numbers(values, "head"))[places.places]
    options: dict[str, Any] = {
        "label": quantity_label(values.attrs, name_of(values)),
        "size": (width, map_height(values, width)),
    }
    called = ("layer", "head")
    figure = hover_map(_placed(values, places), scale, names=names, called=called, told=heads, **options, **texts)
    for ends in places.ends.T if places is not None else ():
        for colour, thickness in (("black", 4), ("white", 2)):
            line = {"line": {"color": colour, "width": thickness}, "mode": "lines", "showlegend": False}
            figure.add_scatter(x=np.repeat(ends, 2) - 0.5, y=_steps_up(ends.size), hoverinfo="skip", **line)
    rows, columns = values.shape  # a line would widen the range, and show cells that are not there
    figure.update_layout({"xaxis.range": [-0.5, columns - 0.5], "yaxis.range": [-0.5, rows - 0.5]})
    return figure
