"""Plots in plotly, as their descriptions say."""

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from lvlmscope.palette import OTHER
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.drawing.plotly_figures import PIXELS, plain, plotly_figure
from lvlmscope.plot.figure_style import wrapped
from lvlmscope.traces.formatting import shortened

__all__ = ["axis_of", "plotly_plots", "see_through"]

_DASHES: Final = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
_SYMBOLS: Final = {"o": "circle", "X": "x", ".": "circle", "s": "square", "D": "diamond", "": "circle"}
_LONGEST: Final = 18  # characters of an upright label
_OUTSIDE: Final = 60  # pixels of texts in the height of the matplotlib figure
_PIXELS_PER_POINT: Final = PIXELS / 72


def plotly_plots(
    panels: Sequence[PlotPanel],
    *,
    size: tuple[float, float],
    below: bool = True,
    legend: Literal["top", "bottom"] = "top",
    least: int = 2,
    note: str = "",
) -> Any:
    """Plots below or beside each other, with values on hover.

    Args:
        panels: What.
        size: Width and height in inches of the matplotlib figure beside it.
        below: Whether plots stand below each other.
        legend: Where the legend is.
        least: Names from which there is a legend.
        note: Beside it.
    """
    from plotly.subplots import make_subplots

    count = len(panels)
    shape = {"rows": count, "cols": 1} if below else {"rows": 1, "cols": count}
    high = size[1] * PIXELS - _OUTSIDE  # pixels of all plots
    between = [0 if one.across.silent else 46 for one in panels[:-1]]
    gap = 14 + max([a + 15 * _lines(b, size[0]) for a, b in zip(between, panels[1:], strict=True)], default=0)
    gaps = {"vertical_spacing": min(gap / high, 0.9 / count)} if below else {"horizontal_spacing": 0.03}
    figure = make_subplots(**shape, **gaps)
    look = plotly_figure([], title="", across="", up="", size=size).layout.to_plotly_json()
    figure.update_layout(**{name: value for name, value in look.items() if name not in ("xaxis", "yaxis", "title")})
    shown: set[str] = set()
    for number, panel in enumerate(panels, 1):
        cell = {"row": number if below else 1, "col": 1 if below else number}
        for series in panel.series:
            for drawn in _drawn(series, shown):
                figure.add_trace(drawn, **cell)
        _add_shapes(figure, panel, cell)
        figure.update_xaxes(axis_of(panel.across, inches=size[0] / (1 if below else count)), **cell)
        figure.update_yaxes(axis_of(panel.up, inches=size[1] / (count if below else 1)), **cell)
        _add_texts(figure, panel, number, inches=size[0] if below else size[0] / count)
    entries = len(shown) >= least
    top = 24 + 24 * (legend == "top" and entries) + 18 * max(_lines(one, size[0]) for one in panels)
    lines = max(one.across.label.count("\n") for one in panels)
    foot = 72 + 16 * lines + (40 if legend == "bottom" else 0) + 20 * bool(note)
    above = {"y": 1.0 + (top - 6) / high, "yanchor": "top"}
    place = above if legend == "top" else {"y": -46 / high, "yanchor": "top"}
    look = {"orientation": "h", "x": 0, "xanchor": "left", **place}
    figure.update_layout(legend=look, showlegend=entries, margin={"t": top, "b": foot}, height=round(high) + top + foot)
    if note:
        place = {"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "bottom"}
        text = plain(wrapped(note, inches=size[0] * 0.9))
        figure.add_annotation(text=text, yshift=-foot + 6, showarrow=False, align="left", **place)
    return figure


def axis_of(axis: Axis, *, inches: float) -> dict[str, Any]:
    """Title, ticks with their words, and ends, as plotly's settings of an axis."""
    title = "\n".join(wrapped(line, inches=max(inches * 0.9, 1.5)) for line in axis.label.split("\n")).strip()
    settings: dict[str, Any] = {"title": {"text": plain(title)}, "automargin": True, "zeroline": False}
    if axis.silent:
        settings["showticklabels"] = False
    if axis.words:
        settings |= {
            "tickmode": "array",
            "tickvals": list(axis.shown),
            "ticktext": [_label(axis, position) for position in axis.shown],
            "showgrid": False,
        }
        if axis.upright:
            settings["tickangle"] = -90
    low, high = axis.low, axis.high
    if low is not None or high is not None:
        settings["range"] = [high, low] if axis.reversed else [low, high]
    elif axis.reversed:
        settings["autorange"] = "reversed"
    return settings


def _label(axis: Axis, position: int) -> str:
    word = axis.words[position]
    text = plain(shortened(word, _LONGEST) if axis.upright else word)
    colour = axis.colours.get(position)
    return f'<span style="color:{colour}"><b>{text}</b></span>' if colour else text


def see_through(colour: str, opacity: float) -> str:
    """A colour `#rrggbb` as plotly takes it with an opacity."""
    red, green, blue = (int(part, 16) for part in re.findall("[0-9A-Fa-f]{2}", colour))
    return f"rgba({red},{green},{blue},{opacity:g})"


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _drawn(series: Series, shown: set[str]) -> list[Any]:
    import plotly.graph_objects as go

    name = plain(series.name)
    group: dict[str, Any] = {"legendgroup": name} if name else {}
    mode = "+".join(part for part, there in (("lines", series.dash), ("markers", series.mark)) if there)
    across = series.interval == "across"
    value = "%{x:.4g}" if across else "%{y:.4g}"
    told = "%{text}" if series.called else "%{y}" if across else "%{x}"
    line: dict[str, Any] = {
        "x": _numbers(series.x),
        "y": _numbers(series.y),
        "mode": mode,
        "opacity": series.opacity,
        "line": {"color": series.colour, "width": series.width, "dash": _DASHES.get(series.dash, "solid")},
        "marker": {
            "color": series.colour,
            "symbol": _SYMBOLS[series.mark],
            "size": series.size * _PIXELS_PER_POINT * (0.5 if series.mark == "." else 1.0),
        },
        "name": name,
        "showlegend": bool(name) and name not in shown,
        "hovertemplate": f"{told}: {value}<extra>{name}</extra>",
    }
    if series.called:
        line["text"] = [plain(one) for one in series.called]
    parts = []
    if series.low is not None and series.high is not None:
        if series.interval == "band":
            parts = _bands(series, group)
        else:
            middle = series.x if across else series.y
            ends = np.abs(np.nan_to_num(np.stack([middle - series.low, series.high - middle])))
            bars = {"type": "data", "array": ends[1].tolist(), "arrayminus": ends[0].tolist(), "thickness": 1.5}
            line["error_x" if across else "error_y"] = bars | {"width": 4 if series.interval == "up" else 0}
    shown |= {name} if name else set()
    return [*parts, go.Scatter(**line, **group)]


def _bands(series: Series, group: dict[str, Any]) -> list[Any]:
    """A filled outline for each stretch in which the band is defined."""
    import plotly.graph_objects as go

    low, high = np.asarray(series.low, dtype=float), np.asarray(series.high, dtype=float)
    known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    stretches = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if known.size else []
    filled = {"fill": "toself", "fillcolor": see_through(series.colour, 0.18), "mode": "lines", "line": {"width": 0}}
    hidden = {"hoverinfo": "skip", "showlegend": False}
    return [
        go.Scatter(
            x=np.concatenate([series.x[one], series.x[one][::-1]]).tolist(),
            y=np.concatenate([high[one], low[one][::-1]]).tolist(),
            **filled,
            **hidden,
            **group,
        )
        for one in stretches
    ]


def _add_shapes(figure: Any, panel: PlotPanel, cell: dict[str, int]) -> None:
    thin = {"line": {"color": OTHER, "width": 1}}
    if panel.level is not None:
        figure.add_hline(panel.level, **thin, **cell)
    if panel.upright is not None:
        figure.add_vline(panel.upright, **thin, **cell)
    for low, high, colour in panel.spans:
        figure.add_vrect(low, high, fillcolor=colour, opacity=0.13, line_width=0, layer="below", **cell)
    for box in panel.quartiles:
        ends = {"x0": box.x - 0.35, "x1": box.x + 0.35}
        filled = {"fillcolor": see_through(box.colour, 0.18), "line_width": 0, "layer": "below"}
        figure.add_shape(type="rect", y0=box.low, y1=box.high, **ends, **filled, **cell)
        line = {"line": {"color": box.colour, "width": 3}}
        figure.add_shape(type="line", y0=box.middle, y1=box.middle, **ends, **line, **cell)


def _lines(panel: PlotPanel, inches: float) -> int:
    """Lines of text over a panel."""
    return len(wrapped(panel.title or panel.remark, inches=inches * 0.8).splitlines())


def _add_texts(figure: Any, panel: PlotPanel, number: int, *, inches: float) -> None:
    axis = str(number) if number > 1 else ""
    place = {"xref": f"x{axis} domain", "yref": f"y{axis} domain", "y": 1.0, "yanchor": "bottom", "showarrow": False}
    for text, x, anchor, points in ((panel.title, 0, "left", 13), (panel.remark, 1, "right", 11)):
        if text:
            lines = plain(wrapped(text, inches=inches * 0.8))
            figure.add_annotation(text=lines, x=x, xanchor=anchor, align=anchor, font={"size": points}, **place)
    if panel.centred:
        middle = place | {"y": 0.5, "yanchor": "middle", "x": 0.5, "xanchor": "center"}
        figure.add_annotation(text=plain(panel.centred), bgcolor="white", bordercolor=OTHER, **middle)
