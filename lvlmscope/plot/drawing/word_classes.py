"""Means of word classes over many traces, with their intervals."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from lvlmscope.errors import task
from lvlmscope.palette import GROUNDED, HALLUCINATED, OTHER
from lvlmscope.plot.data.aggregates import mean_of, over_traces
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.data.unit_labels import axis_label, counted
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.figure_style import new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "MARKS", "draw_classes"]

COLOURS: Final = {"grounded": GROUNDED, "hallucinated": HALLUCINATED, "other words": OTHER}
MARKS: Final = {"grounded": "o", "hallucinated": "X", "other words": "."}
_CALLED: Final = {"grounded": "grounded", "hallucinated": "hallucinated", "other": "other words"}


@task("draw a distribution")
def draw_classes(found: xr.Dataset, backend: str, ax: "Axes | None", width: float) -> Any:
    """Each class's mean as a point, with the interval as a bar.

    Args:
        found: What `aggregate` gives by word.
        backend: `"matplotlib"` or `"plotly"`.
        ax: Axes to draw into; None for a new figure.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ShapeError: No aggregate, or one with further axes.
    """
    mean = mean_of(found, dims=("word",))
    label, middle = axis_label(mean), mean.to_numpy().astype(float)
    ends = np.abs(np.stack([found["low"].to_numpy(), found["high"].to_numpy()]).astype(float) - middle)
    kinds = [_CALLED.get(str(word), str(word)) for word in found["word"].values]
    words = [int(count) for count in found["count"]]
    names = [f"{kind}\n{counted(count, 'word')}" for kind, count in zip(kinds, words, strict=True)]
    level = float(found.attrs.get("level", 0.95))
    note = f"{over_traces(found, intervals=True)}; bars: {100 * level:.3g} % interval"
    note = note if np.isfinite(ends).any() else f"{over_traces(found)}: no interval"
    series = [
        Series(
            x=np.array([index]),
            y=middle[index : index + 1],
            low=middle[index : index + 1] - ends[0, index : index + 1],
            high=middle[index : index + 1] + ends[1, index : index + 1],
            interval="up",
            colour=COLOURS.get(kind, OTHER),
            mark=MARKS.get(kind, "o"),
            size=9.0,
            called=(kind,),
        )
        for index, kind in enumerate(kinds)
        if np.isfinite(middle[index])
    ]
    positive = bool((middle[np.isfinite(middle)] >= 0).all())
    panel = PlotPanel(
        across=Axis(label=note, words=tuple(names), shown=tuple(range(len(names))), low=-0.6, high=len(names) - 0.4),
        up=Axis(label=label, low=0.0 if positive else None),
        series=tuple(series),
        centred="" if series else "not defined for any class",
    )
    if backend == "plotly":
        return plotly_plots([panel], size=(width, 3.6))
    with paper_style(ax):
        ax = ax if ax is not None else new_figure(width, 3.6).subplots()
        draw_plot(ax, panel, width=width, up=2.8)
    return ax.get_figure(root=True)
