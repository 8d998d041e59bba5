"""``setting_map``: two parameters of an intervention against each other."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import Scale, scale_of
from lvlmscope.plot.data.matrix_panels import matrix_panel
from lvlmscope.plot.drawing.cell_numbers import write_numbers
from lvlmscope.plot.drawing.matrix import draw_matrix
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["setting_map"]

_PARTS = ("difference", "low", "high")


@checked
@task("draw a map of settings")
def setting_map(
    found: xr.Dataset,
    *,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    title: str | None = None,
    limit: Annotated[float, Range(gt=0)] | None = None,
    width: float = WIDTH * 0.75,
) -> Any:
    """The difference to the plain model for each pair of values; framed where the interval excludes zero.

    Args:
        found: What `lvlmscope.evaluation.setting_map` gives; with several kinds one of them, `found.sel(kind="all")`.
        backend: `"matplotlib"`, or `"plotly"` with hover.
        ax: Axes to draw into, such as for tasks side by side; matplotlib only.
        title: Over the map; None for the score.
        limit: The colour scale goes from minus this to this; None for the greatest difference. Give one to maps that
            are compared.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An unknown backend, or `ax` with plotly.
        ShapeError: Another dataset, several kinds, or no settings.
    """
    check_backend(backend, ax)
    require_kind("found", found, xr.Dataset, "what lvlmscope.evaluation.setting_map gives")
    one = found.isel(kind=0) if found.sizes.get("kind") == 1 else found
    if not set(_PARTS) <= set(one.data_vars) or one["difference"].ndim != 2 or 0 in one["difference"].shape:
        got = f"a dataset of {', '.join(map(str, found.data_vars)) or 'nothing'} with dims {dict(found.sizes)}"
        fix = "pass its result, of several kinds found.sel(kind=...)"
        raise ShapeError(message(got, "what lvlmscope.evaluation.setting_map gives, of one kind", fix))
    rows, columns = map(str, one["difference"].dims)
    values, low, high = (one[part].to_numpy().astype(float) for part in _PARTS)
    scale = scale_of(values, centred=True)
    scale = scale if limit is None else Scale(low=-limit, high=limit, colours=scale.colours)
    kind = str(one["kind"].item()) if "kind" in one.coords else "all"
    score = str(one.attrs.get("score", "score"))
    heading = title if title is not None else score + ("" if kind == "all" else f", {kind}")
    excluded = (low > 0) | (high < 0)
    level = f"{100 * float(one.attrs.get('level', 0.95)):.3g} %"
    note = f"framed: {level} interval excludes zero ({excluded.sum()} of {np.isfinite(values).sum()} settings)"
    names = tuple(one[dim].values.tolist() if dim in one.coords else range(one.sizes[dim]) for dim in (rows, columns))
    size = (width, width * 0.8)
    panel = matrix_panel(
        values,
        scale,
        (names[0], names[1]),
        texts=(heading, f"{columns}\n{note}", rows, f"{score} minus the plain model's"),
        called=(rows, columns),
        size=size,
    )
    figure = draw_matrix(replace(panel, framed=excluded), backend, ax, size)
    if backend == "matplotlib":
        axes = ax if ax is not None else figure.axes[0]
        write_numbers(axes, axes.images[0], values)
    return figure
