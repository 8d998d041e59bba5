"""Means of word classes over many traces, with their intervals."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from lvlmscope.errors import task
from lvlmscope.palette import GROUNDED, HALLUCINATED, OTHER
from lvlmscope.plot.data.aggregates import mean_of, over_traces
from lvlmscope.plot.data.unit_labels import axis_label, counted
from lvlmscope.plot.drawing.plotly_figures import plotly_figure
from lvlmscope.plot.figure_style import add_note, inscription, new_figure, paper_style, wrapped

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
    if backend == "plotly":
        return _interactive(names, (middle, ends), kinds, (label, note, width))
    with paper_style(ax):
        ax = ax if ax is not None else new_figure(width, 3.6).subplots()
        for index, kind in enumerate(kinds):
            look: dict[str, Any] = {"color": COLOURS.get(kind, OTHER), "marker": MARKS.get(kind, "o")}
            bar = np.nan_to_num(ends[:, index : index + 1])
            if np.isfinite(middle[index]):
                ax.errorbar([index], [middle[index]], yerr=bar, markersize=9, capsize=6, linewidth=2, **look)
        ax.set_xticks(range(len(names)), names)
        ax.set_xlim(-0.6, len(names) - 0.4)
        ax.set_ylim(bottom=0 if (middle[np.isfinite(middle)] >= 0).all() else None)
        ax.set_ylabel(wrapped(inscription(label), inches=2.8))
        add_note(ax, wrapped(note, inches=width * 0.85, points=10.0))
        if not np.isfinite(middle).any():
            add_note(ax, "not defined for any class", centred=True)
    return ax.get_figure(root=True)


def _interactive(
    names: list[str], values: tuple[np.ndarray, np.ndarray], kinds: list[str], labels: tuple[str, str, float]
) -> Any:
    import plotly.graph_objects as go

    (middle, ends), (label, note, width) = values, labels
    drawn = go.Scatter(
        x=[name.replace("\n", "<br>") for name in names],
        y=[float(value) if np.isfinite(value) else None for value in middle],
        error_y={
            "type": "data",
            "array": np.nan_to_num(ends[1]).tolist(),
            "arrayminus": np.nan_to_num(ends[0]).tolist(),
        },
        mode="markers",
        marker={"color": [COLOURS.get(kind, OTHER) for kind in kinds], "size": 11},
        hovertemplate="%{x}: %{y:.4g}<extra></extra>",
    )
    return plotly_figure([drawn], title=label, across=note, up=label, size=(width, 3.6))
