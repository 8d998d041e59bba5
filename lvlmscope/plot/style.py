"""One look for all figures: colour maps that the colour-blind can read, legible fonts, wrapped captions."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CLASS_COLOURS", "CLASS_MARKERS", "DIVERGING", "SEQUENTIAL", "new_figure", "shown", "thinned", "wrapped"]

SEQUENTIAL: Final = "viridis"  # masses and entropies
DIVERGING: Final = "RdBu_r"  # differences, centred at 0
# Okabe and Ito's palette; the marker tells the class too
CLASS_COLOURS: Final = {"true": "#0072B2", "made up": "#D55E00", "other": "#7f7f7f"}
CLASS_MARKERS: Final = {"true": "o", "made up": "X", "other": "."}


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure that a notebook shows once, where it is returned.

    Args:
        width: Inches.
        height: Inches.
    """
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), dpi=110, layout="constrained")
    plt.close(figure)
    return figure


def shown(labels: Sequence[Any], most: int) -> list[int]:
    """Positions of the labels to write so that at most `most` are written, the first one always among them.

    >>> shown(range(10), 4)
    [0, 3, 6, 9]
    """
    every = -(-len(labels) // most) if labels else 1
    return list(range(0, len(labels), every))


def thinned(axes: "Axes", axis: str, labels: Sequence[Any], *, most: int, **text: Any) -> None:
    """Writes tick labels, leaving out as many as it takes for them not to overlap.

    Args:
        axes: Where to write.
        axis: "x" or "y".
        labels: One for each position from 0.
        most: How many fit.
        **text: Text properties such as rotation.
    """
    places = shown(labels, most)
    write = axes.set_xticks if axis == "x" else axes.set_yticks
    write(places, [str(labels[n]) for n in places], **text)


def wrapped(text: str, width: int = 90) -> str:
    """A caption on as many lines as it needs; white space folded.

    >>> wrapped("a  b", 10)
    'a b'
    """
    return "\n".join(textwrap.wrap(" ".join(text.split()), width))
