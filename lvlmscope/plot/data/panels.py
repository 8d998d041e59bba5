"""What a figure shows, panel by panel, before any library draws it: both backends draw the same description."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lvlmscope.plot.data.colour_scale import Scale

__all__ = ["Axis", "CellColumn", "CellPanel", "PlotPanel", "Quartiles", "Series"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """One axis of a panel.

    Attributes:
        label: Its title; lines after the first are remarks.
        words: What stands at 0, 1, 2, ...; empty for an axis of numbers.
        shown: The positions that are labelled.
        colours: Colours of labels that stand out, by position.
        upright: Whether labels are written upwards.
        low: Where it begins; None for what the values need.
        high: Where it ends; None for what the values need.
        reversed: Whether it runs downwards.
        silent: Whether its labels are left out, because the plot below has them.
    """

    label: str = ""
    words: tuple[str, ...] = ()
    shown: tuple[int, ...] = ()
    colours: Mapping[int, str] = field(default_factory=dict)
    upright: bool = False
    low: float | None = None
    high: float | None = None
    reversed: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """A line, or points, with an interval around each value where there is one.

    Attributes:
        x: Positions.
        y: Values; NaN where there is none.
        name: In the legend; empty for none.
        low: Lower ends; None without intervals.
        high: Upper ends.
        interval: How intervals are drawn: a band, bars along the vertical or the horizontal axis, or stems from below.
        colour: Of all of it.
        dash: Of the line, in matplotlib's letters; empty for points alone.
        width: Of the line, in points.
        mark: Of the points, in matplotlib's letters; empty for a line alone.
        size: Of a point, in points.
        opacity: From 0 to 1.
        called: What each point is, on hover; empty for its position.
    """

    x: np.ndarray
    y: np.ndarray
    name: str = ""
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    interval: Literal["band", "up", "across", "stem"] = "band"
    colour: str
    dash: str = ""
    width: float = 1.5
    mark: str = ""
    size: float = 4.0
    opacity: float = 1.0
    called: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quartiles:
    """A box from the first to the third quartile with a line at the median.

    Attributes:
        x: Its middle; it is 0.7 wide.
        low: First quartile.
        middle: Median.
        high: Third quartile.
        colour: Of box and line.
    """

    x: float
    low: float
    middle: float
    high: float
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlotPanel:
    """A plot.

    Attributes:
        across: Horizontal axis.
        up: Vertical axis.
        series: From the back to the front.
        title: Over it, at the left.
        remark: Over it, at the right, small.
        level: Value of a horizontal line; None for none.
        upright: Value of a vertical line; None for none.
        spans: First and last position of shaded stretches of the horizontal axis, each with its colour.
        quartiles: Boxes behind points.
        centred: A text across the plot when there is nothing else to see.
    """

    across: Axis
    up: Axis
    series: tuple[Series, ...]
    title: str = ""
    remark: str = ""
    level: float | None = None
    upright: float | None = None
    spans: tuple[tuple[float, float, str], ...] = ()
    quartiles: tuple[Quartiles, ...] = ()
    centred: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellColumn:
    """A column of cells with a scale of its own.

    Attributes:
        column: Its position.
        scale: Range and colours.
        label: Of its colour bar.
    """

    column: int
    scale: Scale
    label: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellPanel:
    """A map of cells.

    Attributes:
        title: Over it.
        across: Horizontal axis.
        up: Vertical axis; its first row is at the top where it is reversed.
        cells: Values ``[row, column]``; NaN stays grey.
        scale: Range and colours.
        label: Of the colour bar.
        called: What a row and a column are, on hover.
        column_names: What each cell's column is, where rows have orders of their own ``[row, column]``.
        steps: Columns to the left of the lines that divide the cells ``[line, row]``.
        framed: Cells with a frame ``[row, column]``; None for none.
        own: A column with a scale of its own.
        centred: A text across the map when there is nothing else to see.
    """

    title: str
    across: Axis
    up: Axis
    cells: np.ndarray
    scale: Scale
    label: str
    called: tuple[str, str]
    column_names: np.ndarray | None = None
    steps: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    framed: np.ndarray | None = None
    own: CellColumn | None = None
    centred: str = ""

    def part(self, column: bool) -> Any:
        """The cells with the scale of the map, or those of the column alone; the others NaN."""
        if self.own is None:
            return np.full_like(self.cells, np.nan) if column else self.cells
        chosen = np.arange(self.cells.shape[1]) == self.own.column
        return np.where(chosen == column, self.cells, np.nan)
