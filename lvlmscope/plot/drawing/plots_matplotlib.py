"""Plots in matplotlib, as their descriptions say."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.palette import OTHER
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.figure_style import add_note, inscription, wrapped
from lvlmscope.traces.formatting import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_plot", "label_axis"]

_LONGEST: Final = 18  # characters of an upright label


def draw_plot(ax: "Axes", panel: PlotPanel, *, width: float, up: float = 1.8) -> None:
    """Draws a plot into axes, without a legend.

    Args:
        ax: Where.
        panel: What.
        width: Inches for texts along the horizontal axis.
        up: Inches for those along the vertical axis.
    """
    named: set[str] = set()
    for series in panel.series:
        _draw_series(ax, series, name=None if series.name in named else inscription(series.name) or None)
        named.add(series.name)
    for box in panel.quartiles:
        ax.bar(box.x, box.high - box.low, bottom=box.low, width=0.7, color=box.colour, alpha=0.18)
        ax.hlines(box.middle, box.x - 0.35, box.x + 0.35, color=box.colour, linewidth=2)
    spans = ax.get_xaxis_transform()
    for low, high, colour in panel.spans:
        ax.broken_barh([(low, high - low)], (0, 1), transform=spans, color=colour, alpha=0.13, linewidth=0, zorder=0)
    if panel.level is not None:
        ax.axhline(panel.level, color=OTHER, linewidth=0.8)
    if panel.upright is not None:
        ax.axvline(panel.upright, color=OTHER, linewidth=0.8)
    label_axis(ax, "x", panel.across, inches=width * 0.85)
    label_axis(ax, "y", panel.up, inches=up)
    if panel.title:
        ax.set_title(wrapped(inscription(panel.title), inches=width * 0.8, points=10.5))
    if panel.remark:
        text = wrapped(inscription(panel.remark), inches=width * 0.8, points=9.0)
        ax.set_title(text, fontsize=9, color=OTHER, loc="right")
    if panel.centred:
        add_note(ax, panel.centred, centred=True)


def _draw_series(ax: "Axes", series: Series, *, name: str | None) -> None:
    look: dict[str, Any] = {"color": series.colour, "marker": series.mark or None, "markersize": series.size}
    if series.low is not None and series.high is not None and series.interval == "stem":
        ax.vlines(series.x, series.low, series.high, color=series.colour, linewidth=1.2, alpha=0.7)
    elif series.low is not None and series.high is not None and series.interval != "band":
        ends = np.abs(np.nan_to_num(np.stack([series.y - series.low, series.high - series.y])))
        where = "yerr"
        if series.interval == "across":
            ends, where = np.abs(np.nan_to_num(np.stack([series.x - series.low, series.high - series.x]))), "xerr"
        bars: dict[str, Any] = {where: ends, "capsize": 0 if where == "xerr" else 4, "elinewidth": 1.4}
        ax.errorbar(series.x, series.y, linestyle=series.dash, linewidth=series.width, label=name, **bars, **look)
        return
    if not series.dash:
        shape: dict[str, Any] = {"color": series.colour, "marker": series.mark, "s": series.size**2}
        ax.scatter(series.x, series.y, linewidths=0, zorder=3, alpha=series.opacity, label=name, **shape)
        return
    line: dict[str, Any] = {"linestyle": series.dash, "linewidth": series.width, "alpha": series.opacity}
    ax.plot(series.x, series.y, label=name, zorder=2 if series.name else 1, **line, **look)
    if series.low is not None and series.high is not None:
        ax.fill_between(series.x, series.low, series.high, color=series.colour, alpha=0.18, linewidth=0)


def label_axis(ax: "Axes", along: str, axis: Axis, *, inches: float) -> None:
    """Ticks with their words, the title, and the ends of an axis.

    Args:
        ax: Where.
        along: `"x"` or `"y"`.
        axis: What stands there.
        inches: Room for the title.
    """
    lines = [wrapped(inscription(line), inches=inches) for line in axis.label.split("\n")]
    (ax.set_xlabel if along == "x" else ax.set_ylabel)("\n".join(lines).strip())
    if axis.words:
        texts = [_label(axis.words[n], upright=axis.upright) for n in axis.shown]
        ticks = (ax.set_xticks if along == "x" else ax.set_yticks)(list(axis.shown), texts)
        for tick, position in zip(ticks, axis.shown, strict=True):
            if axis.upright:
                tick.label1.set_rotation(90)
            if position in axis.colours:
                tick.label1.set_color(axis.colours[position])
                tick.label1.set_fontweight("bold")
    if axis.silent:
        ax.tick_params(**{"labelbottom" if along == "x" else "labelleft": False})  # type: ignore[arg-type]
    ends = (axis.high, axis.low) if axis.reversed else (axis.low, axis.high)
    if along == "x":
        ax.set_xlim(*ends)
    else:
        ax.set_ylim(*ends)


def _label(word: str, *, upright: bool) -> str:
    if upright:
        return inscription(shortened(word, _LONGEST))
    return "\n".join(inscription(line) for line in word.split("\n"))
