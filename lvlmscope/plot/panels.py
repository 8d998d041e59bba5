"""Pictures side by side on one colour bar, placed to the inch: no layout engine keeps titles over pictures whole."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvlmscope.plot.style import is_narrow, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PicturePanels", "picture_panels"]

_MARGIN: Final = 0.12  # inches, as all below
_HEAD: Final = 0.50  # two lines of title
_FOOT: Final = 0.09  # and for each line of remark
_LINE: Final = 0.17
_BAR: Final = 0.14
_BAR_TEXTS: Final = 0.50
_ACROSS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturePanels:
    """The axes of such a figure.

    Attributes:
        panels: One for each picture, in reading order.
        bar: For the colour bar, below them.
        panel_width: Inches.
    """

    panels: "list[Axes]"
    bar: "Axes"
    panel_width: float


def picture_panels(count: int, size: tuple[int, int], width: float, lines: int = 1) -> PicturePanels:
    """A new figure with room for pictures of one shape, at most four in a row, one in a narrow figure.

    Args:
        count: Pictures.
        size: Width and height of each, in any unit.
        width: Inches of the figure.
        lines: Of remark below each.

    Returns:
        Axes of exactly the pictures' shape.
    """
    across = 1 if is_narrow(width) else min(count, _ACROSS)
    down = -(-count // across)
    panel = (width - _MARGIN * (across + 1)) / across
    tall = panel * min(max(size[1] / size[0], 0.2), 4.0)
    foot = _FOOT + _LINE * lines
    height = down * (_HEAD + tall + foot) + _BAR + _BAR_TEXTS
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    panels = []
    for number in range(count):
        left = _MARGIN + (number % across) * (panel + _MARGIN)
        top = height - (number // across) * (_HEAD + tall + foot) - _HEAD
        panels.append(figure.add_axes((left / width, (top - tall) / height, panel / width, tall / height)))
    rectangle = (2 * _MARGIN / width, _BAR_TEXTS / height, 1 - 4 * _MARGIN / width, _BAR / height)
    return PicturePanels(panels=panels, bar=figure.add_axes(rectangle), panel_width=panel)
