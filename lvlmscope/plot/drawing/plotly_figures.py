"""What all plotly figures share."""

from typing import Any, Final, Literal

import numpy as np

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ModelInputError, message
from lvlmscope.plot.figure_style import wrapped

__all__ = ["PIXELS", "check_backend", "plain", "plotly_figure"]

PIXELS: Final = 110  # to the inch


def check_backend(backend: Literal["matplotlib", "plotly"], ax: Any, *, several: bool = False) -> None:
    """Refuse axes of matplotlib with plotly, and objects that are not axes.

    Args:
        backend: What was given.
        ax: Axes to draw into, None for a new figure.
        several: Whether a collection of axes is accepted too.

    Raises:
        ModelInputError: Axes with plotly, or something else than axes.
    """
    if ax is None:
        return
    if backend == "plotly":
        expected, fix = "matplotlib with ax=, or plotly without", "leave one of them out"
        raise ModelInputError(message("backend='plotly' and ax=", expected, fix))
    from matplotlib.axes import Axes

    expected = "matplotlib axes, one or several" if several else "one matplotlib axes"
    for one in np.asarray(ax, dtype=object).ravel() if several else [ax]:
        require_kind("ax", one, Axes, expected)


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
        width=round(size[0] * PIXELS),
        height=round(size[1] * PIXELS) + 90,
        margin={"t": 64, "b": 72, "l": 72, "r": 24},
        title={"text": plain(wrapped(title, inches=size[0]))},
        xaxis={"title": {"text": plain(across)}, "automargin": True},
        yaxis={"title": {"text": plain(up)}, "automargin": True},
    )
    return figure
