"""Where the panels of an overlay stand in their figure: the same in both backends."""

from dataclasses import dataclass
from typing import Final

from lvlmscope.plot.figure_style import is_narrow

__all__ = ["PanelGrid", "panel_grid"]

_MARGIN: Final = 0.12  # inches, as all below
_LINE: Final = 0.17  # of a title or a remark
_SMALL_LINE: Final = 0.13
_FOOT: Final = 0.09
_BAR: Final = 0.14
_BAR_TEXTS: Final = 0.52
_INSET: Final = 0.35  # of the bar, whose first and last number stand out
_ACROSS: Final = 4
_SMALL_ACROSS: Final = 8

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelGrid:
    """Inches from the left and from the bottom, width and height.

    Attributes:
        size: Of the figure.
        panels: In reading order.
        bar: The colour bar below them.
        panel_width: Width of a panel.
    """

    size: tuple[float, float]
    panels: tuple[Rectangle, ...]
    bar: Rectangle
    panel_width: float


def panel_grid(
    count: int, size: tuple[int, int], width: float, *, heads: int, feet: int, notes: int, small: bool
) -> PanelGrid:
    """Panels in the image's shape, at most four in a row, one in a narrow figure; twice as many small ones.

    Args:
        count: Panels.
        size: Width and height of each, in any unit.
        width: Inches of the figure.
        heads: Lines of title over each.
        feet: Lines of remark below each.
        notes: Lines under the label of the colour bar.
        small: Whether panels are small.

    Examples:
        >>> grid = panel_grid(2, (56, 56), 7.0, heads=2, feet=1, notes=0, small=False)
        >>> len(grid.panels), round(grid.panel_width, 2)
        (2, 3.32)
    """
    most = (_SMALL_ACROSS if small else _ACROSS) if not is_narrow(width) else _ACROSS if small else 1
    across = min(count, most)
    down = -(-count // across)
    gap, line = (_MARGIN / 2, _SMALL_LINE) if small else (_MARGIN, _LINE)
    panel = (width - _MARGIN * 2 - gap * (across - 1)) / across
    tall = panel * min(max(size[1] / size[0], 0.2), 4.0)
    head, foot = line * heads + gap, _FOOT * (not small) + line * feet
    texts = _BAR_TEXTS + _LINE * notes
    height = down * (head + tall + foot) + _BAR + texts + _MARGIN
    rectangles = []
    for number in range(count):
        left = _MARGIN + (number % across) * (panel + gap)
        top = height - (number // across) * (head + tall + foot) - head
        rectangles.append((left, top - tall, panel, tall))
    bar = (_INSET, texts, width - 2 * _INSET, _BAR)
    return PanelGrid(size=(width, height), panels=tuple(rectangles), bar=bar, panel_width=panel)
