"""``heatmap``: one number for each layer and head."""

from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import scale_of
from lvlmscope.plot.data.head_order import head_order
from lvlmscope.plot.data.head_panels import head_panel, map_height, ordered_cells
from lvlmscope.plot.data.signal_arrays import layer_by_head
from lvlmscope.plot.data.unit_labels import axis_label, heading_of
from lvlmscope.plot.drawing.cell_numbers import write_numbers
from lvlmscope.plot.drawing.cells_matplotlib import add_bars, draw_cells
from lvlmscope.plot.drawing.cells_plotly import plotly_cells
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import (
    WIDTH,
    add_note,
    inches_of,
    inscription,
    is_narrow,
    new_figure,
    paper_style,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["heatmap"]


@checked
@task("draw a heatmap")
def heatmap(
    signal: Any,
    *,
    numbers: bool | xr.DataArray | xr.Dataset = False,
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
        numbers: Write each value into its cell, where there is room; matplotlib only, plotly shows it on hover. Or a
            second signal whose values are written, such as the attention on the question over that on the image.
        order: Heads of each layer by `"number"`, or by `"value"`, the highest first.
        groups: A class for each (layer, head), such as `functional_heads` or `sensitive_heads` gives: heads of a class
            stand together in their layer, and a white line divides the classes.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw into; matplotlib only.
        title: Over the map; None for the quantity.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: Not a trace nor a labelled array, an unknown order or backend, `ax` with plotly, or no image
            keys.
        ShapeError: The array has no dims layer and head, or an empty one; groups of other dims, or numbers of other
            layers and heads.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> heatmap(planted_trace()).axes[0].get_ylabel()
        'decoder layer (0 at the bottom)'
    """
    check_backend(backend, ax)
    values, averaged = layer_by_head(signal)
    text = title if title is not None else heading_of(values, averaged)
    heads = head_order(values, order, groups)
    written = _written(numbers, values, backend)
    narrow, height = is_narrow(width), map_height(values, width)
    beside = (width * (0.85 if narrow else 0.72), height - 1.0)
    room = beside if ax is None else inches_of(ax)
    panel = head_panel(values, scale_of(values), text, room=room, order=heads)
    if backend == "plotly":
        return plotly_cells([panel], size=(width, height))
    with paper_style(ax):
        if ax is None:
            ax = new_figure(width, height + narrow).subplots()
        drawn = draw_cells(ax, panel, width=width)
        add_bars(ax, panel, drawn, along=(width if narrow else height + narrow) - 0.4, below=narrow)
        if written is not None:
            if written is not values:
                add_note(ax, wrapped(inscription(f"numbers: {axis_label(written)}"), inches=width * 0.8))
            write_numbers(ax, drawn[0], ordered_cells(written, heads))
    return ax.get_figure(root=True)


def _written(numbers: Any, values: xr.DataArray, backend: str) -> xr.DataArray | None:
    """What stands in the cells; None for nothing."""
    if isinstance(numbers, bool):
        return values if numbers else None
    if backend == "plotly":
        fix = "use matplotlib, or leave them out"
        raise ModelInputError(message("backend='plotly' and numbers of a second signal", "matplotlib", fix))
    second, _ = layer_by_head(numbers)
    if second.shape != values.shape:
        got, expected = (f"{one.shape[0]} x {one.shape[1]} layers x heads" for one in (second, values))
        raise ShapeError(message(f"numbers of {got}", expected, "give those of the same model"))
    return second
