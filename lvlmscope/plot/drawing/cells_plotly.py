"""Maps of cells in plotly, as their descriptions say, with row, column and value on hover."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from lvlmscope.errors import ModelInputError, message
from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.data.panels import CellPanel
from lvlmscope.plot.drawing.map_colours import plotly_colours, translucent
from lvlmscope.plot.drawing.plotly_figures import PIXELS, plain, plotly_figure
from lvlmscope.plot.drawing.plots_plotly import axis_of
from lvlmscope.plot.figure_style import wrapped

__all__ = ["plotly_cells"]

_MOST_CELLS: Final = 400_000  # a browser draws so many without a halt
_BAR: Final = 80  # pixels of a colour bar with its numbers and its label, at least
_NUMBERS, _LINE = 56, 18  # of these, bar and numbers, and a line of the label
_GAP: Final = 46


def plotly_cells(
    panels: Sequence[CellPanel], *, size: tuple[float, float], heading: str = "", below: bool = False
) -> Any:
    """Maps beside or below each other; neighbours on one scale share its bar.

    Args:
        panels: What.
        size: Width and height in inches of the matplotlib figure beside it.
        heading: Over all, in lines.
        below: Whether maps stand below each other.

    Raises:
        ModelInputError: More cells than a browser can draw.
    """
    from plotly.subplots import make_subplots

    _check_count(panels)
    count, lines = len(panels), heading.count("\n") + 1 if heading else 0
    titles = max(len(wrapped(one.title, inches=size[0] * 0.8).splitlines()) for one in panels)
    top, notes = 16 + 17 * lines + 22 * titles, max(one.across.label.count("\n") for one in panels)
    high, foot = size[1] * PIXELS - 60, 74 + 16 * notes
    shape = {"rows": count, "cols": 1} if below else {"rows": 1, "cols": count}
    figure = make_subplots(**shape, **({"vertical_spacing": min(100 / high / count, 0.3 / count)} if below else {}))
    look = plotly_figure([], title="", across="", up="", size=size).layout.to_plotly_json()
    figure.update_layout(**{name: value for name, value in look.items() if name not in ("xaxis", "yaxis", "title")})
    margin = {"t": top, "b": foot, "l": 72, "r": 10}
    figure.update_layout(plot_bgcolor=UNDEFINED, margin=margin, height=round(high + top + foot))
    tall = (size[1] * PIXELS - 60) / (count if below else 1)
    for number, ends in enumerate(_places(panels, (size[0] * PIXELS - 82, tall), below=below), 1):
        _add_panel(figure, panels, number, (size, ends), below=below)
    own = wrapped(panels[0].title, inches=size[0] * 0.95) if count == 1 else ""
    title: dict[str, Any] = {"text": plain(heading or own), "font": {"size": 13 if heading else 15}}
    title |= {"x": 0.01, "xanchor": "left", "y": 1.0, "yref": "container", "yanchor": "top", "pad": {"t": 10}}
    figure.update_layout(title=title)
    return figure


def _check_count(panels: Sequence[CellPanel]) -> None:
    most = max(panels, key=lambda panel: panel.cells.size).cells
    if most.size > _MOST_CELLS:
        got = f"{most.shape[0]} x {most.shape[1]} cells"
        fix = "choose fewer rows, or backend='matplotlib'"
        raise ModelInputError(message(got, f"up to {_MOST_CELLS} cells", fix, task="draw a map with hover"))


def _add_panel(
    figure: Any,
    panels: Sequence[CellPanel],
    number: int,
    place: tuple[tuple[float, float], tuple[float, float]],
    *,
    below: bool,
) -> None:
    (size, (left, right)), panel = place, panels[number - 1]
    cell = {"row": number if below else 1, "col": 1 if below else number}
    inches = size[0] * (right - left)
    for drawn in _drawn(panel):
        figure.add_trace(drawn, **cell)
    figure.update_xaxes(axis_of(panel.across, inches=inches), showgrid=False, domain=[left, right], **cell)
    figure.update_yaxes(axis_of(panel.up, inches=size[1]), showgrid=False, **cell)
    rows, columns = panel.cells.shape  # a line would widen the range, and show cells that are not there
    up = [rows - 0.5, -0.5] if panel.up.reversed else [-0.5, rows - 0.5]
    figure.update_xaxes(range=[-0.5, columns - 0.5], **cell)
    figure.update_yaxes(range=up, autorange=False, **cell)
    _add_texts(figure, panel, number, inches, alone=len(panels) == 1)
    for row, column in [] if panel.framed is None else np.argwhere(panel.framed):
        corners = {"x0": column - 0.47, "x1": column + 0.47, "y0": row - 0.47, "y1": row + 0.47}
        figure.add_shape(type="rect", line={"color": "black", "width": 2}, **corners, **cell)
    high = size[1] * PIXELS - 60
    _place_bars(figure, panels, number - 1, (right, high / len(panels) if below else high))


def _places(panels: Sequence[CellPanel], size: tuple[float, float], *, below: bool) -> list[tuple[float, float]]:
    """Left and right end of each map, from 0 to 1, with room for the bars that stand beside it."""
    wide, tall = size
    bars = [
        _own_bar(panels, n, below=below) * _wide_bar(one.label, tall)
        + (0 if one.own is None else _wide_bar(one.own.label, tall))
        for n, one in enumerate(panels)
    ]
    if below:
        return [(0.0, 1 - bar / wide) for bar in bars]
    each = (wide - sum(bars) - _GAP * (len(panels) - 1)) / len(panels)
    places, left = [], 0.0
    for bar in bars:
        places.append((left / wide, (left + each) / wide))
        left += each + bar + _GAP
    return places


def _bar_label(label: str, tall: float) -> str:
    """A label in lines that fit beside a bar of so many pixels."""
    return wrapped(label, inches=max(tall / PIXELS * 0.95, 1.4))


def _wide_bar(label: str, tall: float) -> int:
    """Pixels of a bar of a height with its numbers and the lines of its label."""
    return max(_BAR, _NUMBERS + _LINE * (_bar_label(label, tall).count("\n") + 1))


def _own_bar(panels: Sequence[CellPanel], number: int, *, below: bool) -> bool:
    """Whether a bar stands beside a map: not when its right neighbour has the same one."""
    one, following = panels[number], panels[number + 1] if number + 1 < len(panels) else None
    return below or following is None or (one.scale, one.label) != (following.scale, following.label)


def _drawn(panel: CellPanel) -> list[Any]:
    import plotly.graph_objects as go

    rows, columns = ([plain(word) for word in axis.words] for axis in (panel.up, panel.across))
    hover = np.empty((*panel.cells.shape, 2), dtype=object)  # plotly takes nested lists of this size in seconds
    hover[..., 0], names = np.array(rows, dtype=object)[:, None], panel.column_names
    hover[..., 1] = columns if names is None else np.vectorize(lambda one: plain(str(one)), otypes=[object])(names)
    told = f"{panel.called[0]} %{{customdata[0]}}, {panel.called[1]} %{{customdata[1]}}<br>%{{z:.4g}}<extra></extra>"
    shared = {"hoverongaps": False, "hovertemplate": told}
    parts: list[tuple[Any, ...]] = [(panel.part(column=False), panel.scale, panel.label, hover, None)]
    if panel.own is not None:
        only = slice(panel.own.column, panel.own.column + 1)
        parts.append((panel.cells[:, only], panel.own.scale, panel.own.label, hover[:, only], [panel.own.column]))
    drawn = [
        go.Heatmap(
            z=[[float(v) if np.isfinite(v) else None for v in row] for row in cells],
            x=x,
            zmin=scale.low,
            zmax=scale.high,
            colorscale=plotly_colours(translucent(scale, 1.0, alone=True)),
            colorbar={"title": {"text": plain(label), "side": "right"}},
            customdata=names_of_cells,
            **shared,
        )
        for cells, scale, label, names_of_cells, x in parts
    ]
    edges = np.repeat(np.arange(len(panel.cells) + 1) - 0.5, 2)[1:-1]
    for line in panel.steps:
        for colour, thickness in (("black", 4), ("white", 2)):
            look = {"line": {"color": colour, "width": thickness}, "mode": "lines", "showlegend": False}
            drawn.append(go.Scatter(x=np.repeat(line, 2) - 0.5, y=edges, hoverinfo="skip", **look))
    return drawn


def _add_texts(figure: Any, panel: CellPanel, number: int, inches: float, *, alone: bool) -> None:
    axis = str(number) if number > 1 else ""
    place = {"xref": f"x{axis} domain", "yref": f"y{axis} domain", "showarrow": False}
    if panel.title and not alone:
        text = plain(wrapped(panel.title, inches=max(inches, 1.5)))
        figure.add_annotation(text=text, x=0, y=1, xanchor="left", yanchor="bottom", align="left", **place)
    if panel.centred:
        figure.add_annotation(text=plain(panel.centred), x=0.5, y=0.5, bgcolor="white", **place)


def _place_bars(figure: Any, panels: Sequence[CellPanel], number: int, place: tuple[float, float]) -> None:
    """Bars beside their map, wherever the axes ended up."""
    right, high = place
    axis = "yaxis" + (str(number + 1) if number else "")
    bottom, top = figure.layout[axis].domain
    below = (len(panels) > 1 and top < 1) or bottom > 0
    maps = [one for one in figure.data if one.type == "heatmap" and one.yaxis == axis.replace("axis", "")]
    wide, offset = float(figure.layout.width) - 82, 6
    for n, one in enumerate(maps):
        label = one.colorbar.title.text.replace("<br>", "\n")
        title = {"text": _bar_label(label, high).replace("\n", "<br>"), "side": "right"}
        x = right + offset / wide
        one.colorbar.update(x=x, xanchor="left", thickness=12, len=top - bottom, y=(top + bottom) / 2, title=title)
        one.showscale = n > 0 or _own_bar(panels, number, below=below)
        offset += _wide_bar(label, high)
