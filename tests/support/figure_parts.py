"""What a drawn figure shows, panel by panel, read from either library: titles, axes, ticks, values, colour ranges."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import numpy as np
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.container import ErrorbarContainer

__all__ = ["FigurePart", "bar_labels", "parts_of"]


@dataclass(frozen=True, kw_only=True)
class FigurePart:
    """One panel.

    Attributes:
        title: Over it, with its remark.
        across: Title of the horizontal axis.
        up: Title of the vertical axis.
        ticks: Words at the places of both axes.
        values: Numbers that are drawn, each group sorted.
        colours: Ends of the colour scales.
    """

    title: str
    across: str
    up: str
    ticks: tuple[dict[int, str], dict[int, str]]
    values: list[list[float]] = field(default_factory=list)
    colours: list[tuple[float, float]] = field(default_factory=list)


def parts_of(figure: Any) -> list[FigurePart]:
    """The panels of a figure of matplotlib or plotly that show values."""
    found = _of_matplotlib(figure) if hasattr(figure, "axes") else _of_plotly(figure)
    return [part for part in found if part.values]


def bar_labels(figure: Any) -> set[str]:
    """Labels of all colour bars."""
    if hasattr(figure, "axes"):
        bars = [axes for axes in figure.axes if hasattr(axes, "_colorbar")]
        return {_text(axes.get_xlabel() or axes.get_ylabel()) for axes in bars}
    shown = [one for one in figure.data if one.type == "heatmap" and one.showscale is not False]
    return {_text(one.colorbar.title.text) for one in shown}


def _text(text: str | None) -> str:
    bare = re.sub(r"</?(span|b)\b[^>]*>", "", (text or "").replace("<br>", " "))  # plotly's
    return " ".join(unescape(bare).replace("\\$", "$").split())


def _group(values: Any) -> list[float]:
    flat = np.asarray(
        [np.nan if one is None else one for one in np.ravel(np.asarray(values, dtype=object))], dtype=float
    )
    return sorted(round(float(one), 6) for one in flat[np.isfinite(flat)])


def _of_matplotlib(figure: Any) -> list[FigurePart]:
    figure.canvas.draw()
    parts = []
    for axes in figure.axes:
        if hasattr(axes, "_colorbar"):
            continue
        meshes = [one for one in axes.collections if isinstance(one, PolyCollection)]
        maps = [one for one in (*axes.images, *meshes) if one.get_array() is not None]
        maps = [one for one in maps if np.ndim(one.get_array()) < 3 and one.get_cmap().name != "gray"]
        values = [_group(np.ma.filled(np.ma.asarray(one.get_array(), dtype=float), np.nan)) for one in maps]
        colours = [tuple(round(float(end), 6) for end in one.get_clim()) for one in maps]
        title = " ".join(filter(None, (axes.get_title(loc="left"), axes.get_title(loc="right"))))
        part = FigurePart(
            title=_text(title),
            across=_text(axes.get_xlabel()),
            up=_text(axes.get_ylabel()),
            ticks=(_ticks(axes.xaxis, "labelbottom"), _ticks(axes.yaxis, "labelleft")),
            values=sorted(group for group in values or _points(axes) if group),
            colours=colours,
        )
        parts.append(part)
    return parts


def _points(axes: Any) -> list[list[float]]:
    bars = [one for one in axes.containers if isinstance(one, ErrorbarContainer)]
    inside = {line for one in bars for line in (one[0], *one[1])}
    lines = [line for line in axes.lines if line not in inside and line.get_transform() == axes.transData]
    groups = [_group(line.get_ydata()) for line in (*(one[0] for one in bars), *lines)]
    return groups + [_group(one.get_offsets()[:, 1]) for one in axes.collections if isinstance(one, PathCollection)]


def _ticks(axis: Any, shown: str) -> dict[int, str]:
    """Words at places; none for an axis of numbers, or without labels."""
    named = type(axis.get_major_formatter()).__name__ in ("FixedFormatter", "FuncFormatter")
    if not named or not axis.get_tick_params().get(shown, True):
        return {}
    ticks = [(round(float(tick.get_loc())), _text(tick.label1.get_text())) for tick in axis.get_major_ticks()]
    return {at: word for at, word in ticks if word}


def _of_plotly(figure: Any) -> list[FigurePart]:
    parts = []
    names = [name for name in figure.layout if name.startswith("xaxis")]
    for name in sorted(names, key=lambda one: int(one[5:] or 1)):
        number = name[5:]
        x, y = figure.layout[name], figure.layout[f"yaxis{number}"]
        here = [one for one in figure.data if (one.xaxis or "x") == f"x{number}"]
        maps = [one for one in here if one.type == "heatmap" and one.hovertemplate != "no value<extra></extra>"]
        lines = [one for one in here if one.type == "scatter" and one.hoverinfo != "skip"]
        groups = [_group(one.z) for one in maps] or [_group(one.y) for one in lines]
        colours = [(round(one.zmin, 6), round(one.zmax, 6)) for one in maps if one.zmin is not None]
        told = [note.text for note in figure.layout.annotations if note.xref == f"x{number} domain" and note.y == 1]
        if len(names) == 1 and figure.layout.title.text:
            told.append(figure.layout.title.text)
        ticks: tuple[dict[int, str], ...] = tuple(
            {}
            if axis.showticklabels is False
            else dict(zip(axis.tickvals or (), map(_text, axis.ticktext or ()), strict=True))
            for axis in (x, y)
        )
        shown = tuple({at: word for at, word in one.items() if word} for one in ticks)
        values = sorted(group for group in groups if group)
        labels = (_text(x.title.text), _text(y.title.text))
        title = _text(" ".join(told))
        parts.append(
            FigurePart(title=title, across=labels[0], up=labels[1], ticks=shown, values=values, colours=colours)
        )
    return parts
