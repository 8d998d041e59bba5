"""Plotly figures: what all of them share, and a map of cells with hover."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from lvlmscope.errors import ModelInputError, message
from lvlmscope.plot.quantities import Scale
from lvlmscope.plot.style import UNDEFINED, wrapped

__all__ = ["check_backend", "hover_map", "plain", "plotly_figure"]

_PIXELS: Final = 110  # to the inch
_MOST_CELLS: Final = 400_000  # a browser draws so many without a halt


def check_backend(asked: str, backend: str, ax: Any) -> None:
    """Refuse what no backend can do.

    Args:
        asked: What for.
        backend: What was given.
        ax: Axes to draw into, None for a new figure.

    Raises:
        ModelInputError: An unknown backend, or axes with plotly.
    """
    if backend not in {"matplotlib", "plotly"} or (backend == "plotly" and ax is not None):
        received = f"backend={backend!r}" + (" and ax=" if ax is not None else "")
        possible = "matplotlib, with or without ax=, or plotly without"
        raise ModelInputError(message(asked, received, possible, "choose one of them"))


def plain(text: str) -> str:
    """Text that plotly does not read as its markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")


def plotly_figure(data: Any, *, title: str, across: str, up: str, size: tuple[float, float]) -> Any:
    """A plotly figure in the look of all views.

    Args:
        data: One trace of plotly or several.
        title: Over the figure.
        across: Title of the horizontal axis.
        up: Title of the vertical axis.
        size: Width and height in inches of the matplotlib figure beside it.
    """
    import plotly.graph_objects as go

    figure = go.Figure(data)
    figure.update_layout(
        template="plotly_white",
        width=round(size[0] * _PIXELS),
        height=round(size[1] * _PIXELS) + 90,
        margin={"t": 64, "b": 72, "l": 72, "r": 24},
        title={"text": plain(wrapped(title, inches=size[0]))},
        xaxis={"title": {"text": plain(across)}, "automargin": True},
        yaxis={"title": {"text": plain(up)}, "automargin": True},
    )
    return figure


def hover_map(
    values: np.ndarray,
    scale: Scale,
    *,
    names: tuple[Sequence[Any], Sequence[Any]],
    called: tuple[str, str],
    label: str,
    **texts: Any,
) -> Any:
    """A map whose cells tell their row, column and value.

    Args:
        values: ``[row, column]``; cells that are not finite stay grey.
        scale: Range and colours.
        names: Of the rows and of the columns.
        called: What a row and a column are.
        label: Of the colour bar.
        **texts: As `plotly_figure`.

    Raises:
        ModelInputError: More cells than a browser can draw.
    """
    import plotly.graph_objects as go

    if values.size > _MOST_CELLS:
        received = f"{values.shape[0]} x {values.shape[1]} cells"
        todo = "choose fewer rows, or backend='matplotlib'"
        raise ModelInputError(message("draw a map with hover", received, f"up to {_MOST_CELLS} cells", todo))
    rows, columns = ([plain(str(name)) for name in each] for each in names)
    drawn = go.Heatmap(
        z=[[float(v) if np.isfinite(v) else None for v in row] for row in values],
        zmin=scale.low,
        zmax=scale.high,
        colorscale=scale.colours,
        colorbar={"title": {"text": plain(label), "side": "right"}},
        customdata=[[[row, column] for column in columns] for row in rows],
        hovertemplate=f"{called[0]} %{{customdata[0]}}, {called[1]} %{{customdata[1]}}<br>%{{z:.4g}}<extra></extra>",
        hoverongaps=False,
    )
    figure = plotly_figure(drawn, **texts)
    figure.update_layout(plot_bgcolor=UNDEFINED)
    for axis, shown, most in (("xaxis", columns, 24), ("yaxis", rows, 40)):
        chosen = list(range(0, len(shown), -(-len(shown) // most)))
        figure.layout[axis].update(tickvals=chosen, ticktext=[shown[n] for n in chosen], showgrid=False, zeroline=False)
    return figure
