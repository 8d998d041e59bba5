"""``correlation``: layers against layers."""

from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import Scale, scale_of
from lvlmscope.plot.data.matrix_panels import matrix_panel
from lvlmscope.plot.data.signal_arrays import axis_numbers, matrix_of
from lvlmscope.plot.data.unit_labels import heading_of, name_of
from lvlmscope.plot.drawing.matrix import draw_matrix
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import LAYER_AXIS, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["correlation"]


@checked
@task("draw a correlation of layers")
def correlation(
    signal: "xr.DataArray | xr.Dataset",
    *,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    title: str | None = None,
    width: float = WIDTH * 0.75,
) -> Any:
    """Correlation of every two layers, on a scale from -1 to 1; layer 0 at the bottom and at the left.

    Args:
        signal: Dims layer and other_layer, such as `layer_correlation` gives (other dims are averaged over), or what
            `lvlmscope.aggregate` gives of it by layer.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw into; matplotlib only.
        title: Over the map; None for the quantity.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An unknown backend, or `ax` with plotly.
        ShapeError: Other dims, or an empty one.

    Examples:
        >>> import numpy as np, xarray as xr
        >>> correlation(xr.DataArray(np.eye(3), dims=("layer", "other_layer"))).axes[0].images[0].get_clim()
        (-1.0, 1.0)
    """
    check_backend(backend, ax)
    values, averaged = matrix_of(signal, ("layer", "other_layer"))
    names = (axis_numbers(values, "layer"), axis_numbers(values, "other_layer"))
    heading = title if title is not None else heading_of(values, averaged)
    label = f"{name_of(values)} (Pearson r)"
    texts = (heading, "other layer", LAYER_AXIS, label)
    scale, size = Scale(low=-1.0, high=1.0, colours=scale_of([-1.0]).colours), (width, width * 0.9)
    cells = values.to_numpy().astype(float)
    panel = matrix_panel(cells, scale, names, texts=texts, called=("layer", "other layer"), size=size)
    return draw_matrix(panel, backend, ax, size)
