"""The layer x head map as a panel."""

from typing import Any

import numpy as np
import xarray as xr

from lvlmscope.plot.data.colour_scale import Scale
from lvlmscope.plot.data.head_order import HeadOrder
from lvlmscope.plot.data.panels import Axis, CellPanel
from lvlmscope.plot.data.signal_arrays import axis_numbers
from lvlmscope.plot.data.unit_labels import axis_label
from lvlmscope.plot.figure_style import LAYER_AXIS, thinned

__all__ = ["head_panel", "map_height", "ordered_cells"]


def map_height(values: xr.DataArray, width: float) -> float:
    """Inches that a map of this many layers needs: rows of at least 0.1 inch, between a strip and a page."""
    return float(min(max(width * 0.5, 0.11 * values.sizes["layer"] + 1.2, 2.8), 9.5))


def head_panel(
    values: xr.DataArray, scale: Scale, title: str, *, room: tuple[float, float], order: HeadOrder | None = None
) -> CellPanel:
    """A map of layers and heads, layer 0 at the bottom.

    Args:
        values: Dims (layer, head).
        scale: Range and colours.
        title: Over it.
        room: Inches for labels across and up.
        order: Order of the heads; None for their numbers.
    """
    note, cells = _undefined_note(values), ordered_cells(values, order)
    nothing = not np.isfinite(cells).any()
    called = order.title if order is not None and order.title else "query head"
    names = _columns(values, order)
    layers = axis_numbers(values, "layer")
    across = Axis(
        label=called + (f"\n{note}" if note and not nothing else ""),
        words=tuple(str(name) for name in names),
        shown=tuple(thinned(len(names), max(2, int(room[0] / 0.45)))),
    )
    up = Axis(
        label=LAYER_AXIS,
        words=tuple(str(number) for number in layers),
        shown=tuple(thinned(len(layers), max(2, int(room[1] / 0.28)))),
    )
    grouped: dict[str, Any] = {}
    if order is not None:
        grouped = {"column_names": np.array(axis_numbers(values, "head"))[order.heads], "steps": order.ends.T}
    return CellPanel(
        title=title,
        across=across,
        up=up,
        cells=cells,
        scale=scale,
        label=axis_label(values),
        called=("layer", "head"),
        centred=note if nothing else "",
        **grouped,
    )


def ordered_cells(values: xr.DataArray, order: HeadOrder | None) -> np.ndarray:
    """The values ``[layer, position]``, each layer's heads in their order."""
    cells = values.to_numpy().astype(float)
    cells = np.where(np.isfinite(cells), cells, np.nan)
    return cells if order is None else np.take_along_axis(cells, order.heads, 1)


def _columns(values: xr.DataArray, order: HeadOrder | None) -> list[int]:
    """Head numbers, or ranks from 1 where each layer has an order of its own."""
    if order is None or not order.title:
        return axis_numbers(values, "head")
    return list(range(1, values.sizes["head"] + 1))


def _undefined_note(values: xr.DataArray) -> str:
    """What a reader must know about cells without a value; empty when there are none."""
    missing = int((~np.isfinite(values.to_numpy().astype(float))).sum())
    if missing == values.size:
        return "not defined for any head"
    return f"grey: not defined ({missing} of {values.size} heads)" if missing else ""
