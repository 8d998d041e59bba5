"""How every view looks: colours that colour-blind readers tell apart, sizes, texts that stay inside their figure."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from unicodedata import east_asian_width

from lvlmscope.palette import OTHER
from lvlmscope.plot.fonts import OWN_FONT, drawable, glyph_notes, take_notes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "LAYER_AXIS",
    "WIDTH",
    "add_note",
    "inches_of",
    "inscription",
    "is_narrow",
    "mark_positions",
    "new_figure",
    "paper_style",
    "thinned",
    "wrapped",
]

LAYER_AXIS: Final = "decoder layer (0 at the bottom)"
WIDTH: Final = 7.0  # inches: a notebook's column
_WINDOWS: Final = frozenset({"qtagg", "qt5agg", "tkagg", "gtk3agg", "gtk4agg", "macosx", "wxagg", "webagg", "nbagg"})
_POINTS_PER_INCH: Final = 72.0
_GLYPH_WIDTH: Final = 0.56  # of the font size, DejaVu Sans on average
_RC: Final[Any] = {  # matplotlib types the names one by one
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.family": [OWN_FONT],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # text stays text in a paper
}


def is_narrow(width: float) -> bool:
    """Whether a figure is as wide as a telephone: panels go below each other, colour bars below their map."""
    return width < 5.0


@contextmanager
def paper_style(ax: Any = None) -> Iterator[None]:
    """The settings that every view is drawn under; the caller's own are back afterwards.

    Characters that no installed font has are noted under the figures.

    Args:
        ax: The caller's axes, one or several, to draw into; None for a new figure.

    Yields:
        Nothing.
    """
    import matplotlib as mpl
    import numpy as np

    with mpl.rc_context(_RC), glyph_notes():
        for given in [] if ax is None else np.asarray(ax, dtype=object).ravel():
            take_notes(given.get_figure(root=True), own=False)
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure that notebooks show once.

    Args:
        width: Inches.
        height: Inches.

    Returns:
        The figure. A window system's pyplot knows it, so that `plt.show()` opens it; others do not keep it alive.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plt.figure(figsize=(width, height), layout="constrained")
    if mpl.get_backend().lower().split("://")[-1] not in _WINDOWS:
        plt.close(figure)  # else a notebook draws it twice: as the cell's value and as an open figure
        FigureCanvasAgg(figure)  # closing takes the canvas away
    take_notes(figure, own=True)
    return figure


def thinned(count: int, most: int) -> list[int]:
    """Evenly spaced positions to label, at most `most` of them, in steps of 1, 2, 5, 10, 20, ...

    Args:
        count: Positions there are.
        most: Labels that fit.

    Examples:
        >>> thinned(8, 10), thinned(80, 10)
        ([0, 1, 2, 3, 4, 5, 6, 7], [0, 10, 20, 30, 40, 50, 60, 70])
    """
    step = 1
    for factor in (10**power * digit for power in range(9) for digit in (1, 2, 5)):
        step = factor
        if count <= most * step:
            break
    return list(range(0, count, step))


def wrapped(text: str, *, inches: float, points: float = 10.0, lines: int = 6) -> str:
    """Text broken so that it fits a width; what does not fit into `lines` ends in an ellipsis.

    Args:
        text: One or more lines; each is broken for itself.
        inches: Width to fit.
        points: Font size.
        lines: Most lines to keep.

    Examples:
        >>> wrapped("a dog and a cat", inches=1.0).splitlines()
        ['a dog and a', 'cat']
    """
    wide = sum(east_asian_width(character) in "WF" for character in text) / max(len(text), 1)
    columns = max(8, int(inches * _POINTS_PER_INCH / (points * _GLYPH_WIDTH * (1 + wide))))
    broken = [line for part in text.splitlines() for line in textwrap.wrap(part, columns) or [""]]
    if len(broken) > lines:
        broken = [*broken[: lines - 1], broken[lines - 1][: columns - 2].rstrip() + " …"]
    return "\n".join(broken)


def inscription(text: str) -> str:
    r"""Text as matplotlib can draw it: no formulas, one space for each run of blanks, a box for what no font has.

    Args:
        text: Anything, for example a token.

    Examples:
        >>> inscription(" costs\n$5 \U0001f642")
        'costs \\$5 □'
    """
    return drawable(re.sub(r"\s+", " ", text).strip()).replace("$", r"\$")


def add_note(axes: "Axes", text: str, *, centred: bool = False) -> None:
    """Writes a remark under the plot, or across it when there is nothing else to see.

    Args:
        axes: Where.
        text: The remark.
        centred: Across the plot.
    """
    if centred:
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": OTHER}
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", bbox=box, wrap=True)
        return
    label = axes.get_xlabel()
    axes.set_xlabel(f"{label}\n{text}" if label else text)


def inches_of(axes: "Axes") -> tuple[float, float]:
    """Width and height of axes."""
    box, dpi = axes.get_window_extent(), axes.figure.dpi
    return float(box.width / dpi), float(box.height / dpi)


def mark_positions(axes: "Axes", along: str, labels: Sequence[Any], *, most: int) -> None:
    """Ticks at a thinned choice of positions with their labels.

    Args:
        axes: Where.
        along: "x" or "y".
        labels: One per position.
        most: Labels that fit.
    """
    chosen = thinned(len(labels), most)
    texts = [str(labels[position]) for position in chosen]
    (axes.set_xticks if along == "x" else axes.set_yticks)(chosen, texts)
