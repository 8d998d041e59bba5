"""``rates``: the share of hallucinated words in bins of a signal."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import HALLUCINATED, OTHER
from lvlmscope.plot.data.unit_labels import counted
from lvlmscope.plot.drawing.plotly_figures import check_backend, plotly_figure
from lvlmscope.plot.figure_style import WIDTH, add_note, inscription, new_figure, paper_style, wrapped

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
    ends = np.abs(np.nan_to_num(np.stack([values["rate"] - values["low"], values["high"] - values["rate"]])))
    across = str(found.attrs.get("signal", "signal")).replace("_", " ")
    words = counted(int(values["count"].sum()), "object word")
    shown = f"bars: {100 * float(found.attrs.get('level', 0.95)):.3g} % interval" if ends.any() else "no interval"
    note = f"{words} in {counted(len(values['rate']), 'bin')}; {shown}"
    if backend == "plotly":
        return _interactive(values, ends, (f"{across}, mean of each bin", note, width))
    with paper_style(ax):
        ax = ax if ax is not None else new_figure(width, 3.6).subplots()
        look: dict[str, Any] = {"color": HALLUCINATED, "marker": "o", "markersize": 6, "capsize": 4, "linewidth": 1.2}
        ax.errorbar(values["centre"], values["rate"], yerr=ends, **look)
        overall = float((values["rate"] * values["count"]).sum() / values["count"].sum())
        ax.axhline(overall, color=OTHER, linewidth=0.8)
        ax.set_ylim(0, 1)
        ax.set_ylabel(wrapped(_UP, inches=2.8))
        ax.set_xlabel(wrapped(inscription(f"{across}, mean of each bin"), inches=width * 0.85))
        add_note(ax, wrapped(f"{note}; line: the share in all", inches=width * 0.85))
    return ax.get_figure(root=True)


def _interactive(values: dict[str, np.ndarray], ends: np.ndarray, labels: tuple[str, str, float]) -> Any:
    import plotly.graph_objects as go

    across, note, width = labels
    drawn = go.Scatter(
        x=values["centre"].tolist(),
        y=values["rate"].tolist(),
        error_y={"type": "data", "array": ends[1].tolist(), "arrayminus": ends[0].tolist()},
        mode="lines+markers",
        customdata=values["count"].astype(int).tolist(),
        line={"color": HALLUCINATED},
        hovertemplate="%{x:.4g}: %{y:.3f} of %{customdata} words<extra></extra>",
    )
    figure = plotly_figure([drawn], title=note, across=across, up=_UP, size=(width, 3.6))
    figure.update_yaxes(range=[0, 1])
    return figure
