"""``rates``: the share of hallucinated words in bins of a signal."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import HALLUCINATED
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.data.unit_labels import counted
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.figure_style import WIDTH, new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["rates"]

_PARTS = {"rate", "low", "high", "count", "centre"}
_UP = "share of object words that are hallucinated"


@checked
@task("draw rates")
def rates(
    found: xr.Dataset,
    *,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    width: float = WIDTH * 0.75,
) -> Any:
    """The share of hallucinated words where a signal is low and where it is high, each bin with its interval.

    Args:
        found: What `lvlmscope.evaluation.rate_by_bin` gives.
        backend: `"matplotlib"`, or `"plotly"` with hover.
        ax: Axes to draw into; matplotlib only.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An unknown backend, or `ax` with plotly.
        ShapeError: Another dataset, or one without bins.
    """
    check_backend(backend, ax)
    require_kind("found", found, xr.Dataset, "what rate_by_bin gives")
    if not set(found.data_vars) >= _PARTS or set(found["rate"].dims) != {"bin"} or not found.sizes["bin"]:
        got = f"a dataset of {', '.join(map(str, found.data_vars)) or 'nothing'} with dims {dict(found.sizes)}"
        raise ShapeError(message(got, "what rate_by_bin gives", "pass its result"))
    values = {name: found[name].to_numpy().astype(float) for name in _PARTS}
    panel = _panel(values, str(found.attrs.get("signal", "signal")), float(found.attrs.get("level", 0.95)))
    if backend == "plotly":
        return plotly_plots([panel], size=(width, 3.6))
    with paper_style(ax):
        ax = ax if ax is not None else new_figure(width, 3.6).subplots()
        draw_plot(ax, panel, width=width, up=2.8)
    return ax.get_figure(root=True)


def _panel(values: dict[str, np.ndarray], signal: str, level: float) -> PlotPanel:
    counts, apart = values["count"].astype(int), (values["high"] - values["low"])[np.isfinite(values["high"])]
    shown = f"bars: {100 * level:.3g} % interval" if (apart > 0).any() else "no interval"
    note = (
        f"{counted(int(counts.sum()), 'object word')} in {counted(len(counts), 'bin')}; {shown}; line: the share in all"
    )
    series = Series(
        x=values["centre"],
        y=values["rate"],
        low=values["low"],
        high=values["high"],
        interval="up",
        colour=HALLUCINATED,
        dash="-",
        width=1.2,
        mark="o",
        size=6.0,
        called=tuple(
            f"{counted(int(n), 'word')} around {x:.4g}" for n, x in zip(counts, values["centre"], strict=True)
        ),
    )
    across = Axis(label=f"{signal.replace('_', ' ')}, mean of each bin\n{note}")
    overall = float((values["rate"] * values["count"]).sum() / values["count"].sum())
    return PlotPanel(across=across, up=Axis(label=_UP, low=-0.02, high=1.02), series=(series,), level=overall)
