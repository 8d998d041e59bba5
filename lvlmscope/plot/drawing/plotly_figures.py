"""Plotly figures: what all of them share, and a map of cells with hover."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ModelInputError, message
from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.data.colour_scale import Scale
from lvlmscope.plot.figure_style import wrapped

__all__ = ["PIXELS", "beside_each_other", "check_backend", "hover_map", "plain", "plotly_figure", "stacked_figure"]

PIXELS: Final = 110  # to the inch
_MOST_CELLS: Final = 400_000  # a browser draws so many without a halt


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


def stacked_figure(rows: Sequence[tuple[str, Sequence[Any], str]], *, across: str, size: tuple[float, float]) -> Any:
    """Plots below each other over one horizontal axis.

    Args:
        rows: For each plot the title of its vertical axis, its traces of plotly, and a remark, which may be empty.
        across: Title of the horizontal axis.
        size: Width and height in inches of the matplotlib figure beside it.
    """
    from plotly.subplots import make_subplots

    grid = make_subplots(rows=len(rows), cols=1, shared_xaxes=True, vertical_spacing=0.3 / (len(rows) + 4))
    figure = plotly_figure([], title="", across="", up="", size=size)
    figure.layout.margin.t = 40
    figure.layout.legend.update(orientation="h", y=1.0, yanchor="bottom")
    grid.update_layout(**figure.layout.to_plotly_json())
    shown: set[str] = set()
    for number, (title, drawn, note) in enumerate(rows, 1):
        for each in drawn:
            each.showlegend = bool(each.name) and each.name not in shown
            each.legendgroup = each.name
            shown.add(each.name)
            grid.add_trace(each, row=number, col=1)
        lines = plain(wrapped(title, inches=max(size[1] / len(rows), 1.5)))
        grid.update_yaxes(title_text=lines, row=number, col=1)
        axis = str(number) if number > 1 else ""
        where = {"xref": f"x{axis} domain", "yref": f"y{axis} domain", "x": 1, "y": 1, "yanchor": "bottom"}
        grid.add_annotation(text=plain(note), showarrow=False, xanchor="right", font={"size": 11}, **where)
    grid.update_xaxes(title_text=plain(across), row=len(rows), col=1)
    return grid


def beside_each_other(each: Sequence[Any], *, title: str, size: tuple[float, float]) -> Any:
    """Maps with hover beside each other with the titles they came with; neighbours on one scale share its bar.

    Args:
        each: Figures of one map.
        title: Over all.
        size: Width and height in inches of the matplotlib figure beside it.
    """
    from plotly.subplots import make_subplots

    gap = 0.13
    grid = make_subplots(
        rows=1, cols=len(each), subplot_titles=[one.layout.title.text for one in each], horizontal_spacing=gap
    )
    shared = plotly_figure([], title="", across="", up="", size=size)
    shared.layout.margin.update(t=40 + 20 * (title.count("\n") + 2), r=80)
    shared.layout.title.update(text=plain(title), font={"size": 13})
    grid.update_layout(**{k: v for k, v in shared.layout.to_plotly_json().items() if k not in ("xaxis", "yaxis")})
    grid.update_layout(plot_bgcolor=UNDEFINED)
    for column, one in enumerate(each, 1):
        drawn = one.data[0]
        right = grid.layout["xaxis" + (str(column) if column > 1 else "")].domain[1]
        drawn.colorbar.update(x=right + 0.005, xanchor="left", thickness=10)
        following = each[column].data[0] if column < len(each) else None
        drawn.showscale = following is None or (drawn.zmin, drawn.zmax) != (following.zmin, following.zmax)
        grid.add_trace(drawn, row=1, col=column)
        for axis in ("xaxis", "yaxis"):
            settings = {k: v for k, v in one.layout[axis].to_plotly_json().items() if k not in ("anchor", "domain")}
            if axis == "yaxis" and column > 1:
                settings["title"] = {"text": ""}
            update = grid.update_xaxes if axis == "xaxis" else grid.update_yaxes
            update(**settings, row=1, col=column)
    return grid


def hover_map(
    values: np.ndarray,
    scale: Scale,
    *,
    names: tuple[Sequence[Any], Sequence[Any]],
    called: tuple[str, str],
    label: str,
    column_names: np.ndarray | None = None,
    **texts: Any,
) -> Any:
    """A map whose cells show their row, column and value on hover.

    Args:
        values: ``[row, column]``; cells that are not finite stay grey.
        scale: Range and colours.
        names: Of the rows and of the columns.
        called: What a row and a column are.
        label: Of the colour bar.
        column_names: Name of each cell's column ``[row, column]``, where rows have orders of their own.
        **texts: As `plotly_figure`.

    Raises:
        ModelInputError: More cells than a browser can draw.
    """
    import plotly.graph_objects as go

    if values.size > _MOST_CELLS:
        got = f"{values.shape[0]} x {values.shape[1]} cells"
        fix = "choose fewer rows, or backend='matplotlib'"
        raise ModelInputError(message(got, f"up to {_MOST_CELLS} cells", fix, task="draw a map with hover"))
    rows, columns = ([plain(str(name)) for name in each] for each in names)
    hover = np.empty((*values.shape, 2), dtype=object)  # plotly takes nested lists of this size in seconds
    hover[..., 0] = np.array(rows, dtype=object)[:, None]
    hover[..., 1] = (
        columns if column_names is None else np.vectorize(lambda one: plain(str(one)), otypes=[object])(column_names)
    )
    drawn = go.Heatmap(
        z=[[float(v) if np.isfinite(v) else None for v in row] for row in values],
        zmin=scale.low,
        zmax=scale.high,
        colorscale=scale.colours,
        colorbar={"title": {"text": plain(label), "side": "right"}},
        customdata=hover,
        hovertemplate=f"{called[0]} %{{customdata[0]}}, {called[1]} %{{customdata[1]}}<br>%{{z:.4g}}<extra></extra>",
        hoverongaps=False,
    )
    figure = plotly_figure(drawn, **texts)
    figure.update_layout(plot_bgcolor=UNDEFINED)
    for axis, shown, most in (("xaxis", columns, 24), ("yaxis", rows, 40)):
        chosen = list(range(0, len(shown), -(-len(shown) // most)))
        figure.layout[axis].update(tickvals=chosen, ticktext=[shown[n] for n in chosen], showgrid=False, zeroline=False)
    return figure
