"""Values of boxes over an image, in matplotlib."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.palette import OTHER, UNDEFINED
from lvlmscope.plot.data.box_raster import rastered, smoothed
from lvlmscope.plot.data.scale import Scale
from lvlmscope.plot.figure_style import add_note, is_narrow, new_figure
from lvlmscope.traces.token_layout import Box, ImageLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from PIL.Image import Image

__all__ = [
    "LEVELS",
    "ImagePanels",
    "OverlayStyle",
    "PatchMap",
    "image_panels",
    "note_of",
    "paint",
    "show_image",
    "surface_of",
]

LEVELS: Final = (0.25, 0.5, 0.75)  # of the highest value: where contour lines run


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayStyle:
    """How values lie over the image.

    Attributes:
        alpha: Opacity, from 0 to 1.
        contour: Lines at a quarter, a half and three quarters of the highest value.
        smoothing: Standard deviation of a blur in widths of the largest patch; 0 for none.
    """

    alpha: float
    contour: bool
    smoothing: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchMap:
    """One map.

    Attributes:
        boxes: Boxes that do not overlap.
        values: One per box.
        raster: The blurred values ``[row, column]``; None without smoothing.
    """

    boxes: list[Box]
    values: np.ndarray
    raster: np.ndarray | None

    @property
    def shown(self) -> np.ndarray:
        """The values that the colours tell."""
        return self.values if self.raster is None else self.raster


def surface_of(boxes: list[Box], values: np.ndarray, size: tuple[int, int], unit: float, smoothing: float) -> PatchMap:
    """A map, smoothed when that was asked for.

    Args:
        boxes: Boxes that do not overlap.
        values: One per box.
        size: Width and height of the image.
        unit: Area of the largest patch.
        smoothing: In widths of that patch.
    """
    if not smoothing:
        return PatchMap(boxes=boxes, values=values, raster=None)
    raster = rastered(boxes, values, size)
    return PatchMap(boxes=boxes, values=values, raster=smoothed(raster, smoothing * unit**0.5 * len(raster) / size[1]))


def paint(
    ax: "Axes", where: ImageLayout, background: "Image | None", surface: PatchMap, *, scale: Scale, look: OverlayStyle
) -> "ScalarMappable":
    """Draws a map over its image, and says what is missing.

    Args:
        ax: Where.
        where: The image's size.
        background: The image; None draws the map alone.
        surface: The map.
        scale: Range and colours.
        look: How.

    Returns:
        What a colour bar is made from.
    """
    import matplotlib as mpl
    from matplotlib.collections import PolyCollection

    _prepare(ax, where)
    if background is not None:
        ax.imshow(background.convert("L"), cmap="gray", extent=_extent(where), vmin=-60, vmax=255)
    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    shared: dict[str, Any] = {"cmap": colours, "alpha": 1.0 if background is None and look.alpha else look.alpha}
    drawn: ScalarMappable
    if surface.raster is None:
        corners = [[(left, up), (right, up), (right, down), (left, down)] for left, up, right, down in surface.boxes]
        cells = PolyCollection(corners, linewidths=0, antialiaseds=False, **shared)
        cells.set_array(np.ma.masked_invalid(surface.values))
        ax.add_collection(cells)
        drawn = cells
    else:
        smooth = np.ma.masked_invalid(surface.raster)
        drawn = ax.imshow(smooth, extent=_extent(where), interpolation="bilinear", **shared)
    drawn.set_clim(scale.low, scale.high)
    if look.contour:
        _outline(ax, where, surface, scale)
    return drawn


def note_of(surface: PatchMap) -> str:
    """What a reader must know about patches without a value; empty when there are none."""
    missing = int((~np.isfinite(surface.values)).sum())
    return f"grey: not defined ({missing} of {surface.values.size} patches)" if missing else ""


def _outline(ax: "Axes", where: ImageLayout, surface: PatchMap, scale: Scale) -> None:
    """Lines around what is above each level: along the patches' edges, or smooth where the map is."""
    assert where.size is not None
    field = surface.raster if surface.raster is not None else rastered(surface.boxes, surface.values, where.size)
    levels = [level * scale.high for level in LEVELS if level * scale.high < np.nanmax(np.append(field, -np.inf))]
    if levels:
        across, down = ((np.arange(n) + 0.5) * s / n for n, s in zip(field.shape[::-1], where.size, strict=True))
        ax.contour(across, down, np.nan_to_num(field), levels=levels, colors="black", linewidths=2.6)
        ax.contour(across, down, np.nan_to_num(field), levels=levels, colors="white", linewidths=1.2)


def show_image(ax: "Axes", where: ImageLayout, background: "Image | None", note: str = "") -> None:
    """The image by itself, or a word that there is none.

    Args:
        ax: Where.
        where: Its size.
        background: The image.
        note: Under it.
    """
    _prepare(ax, where)
    ax.set_title("image")
    if background is None:
        add_note(ax, "no image\nin the trace:\npatches only", centred=True)
    else:
        ax.imshow(background, extent=_extent(where))
    if note:
        add_note(ax, note)


def _extent(where: ImageLayout) -> tuple[float, float, float, float]:
    assert where.size is not None  # `boxes_of` refused it
    return (0.0, float(where.size[0]), float(where.size[1]), 0.0)


def _prepare(ax: "Axes", where: ImageLayout) -> None:
    left, right, bottom, top = _extent(where)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color(OTHER)


_MARGIN: Final = 0.12  # inches, as all below
_HEAD: Final = 0.50  # two lines of title
_FOOT: Final = 0.09  # and for each line of remark
_LINE: Final = 0.17
_BAR: Final = 0.14
_BAR_TEXTS: Final = 0.50
_ACROSS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePanels:
    """The axes of such a figure.

    Attributes:
        panels: One for each image, in reading order.
        bar: For the colour bar, below them.
        panel_width: Inches.
    """

    panels: "list[Axes]"
    bar: "Axes"
    panel_width: float


def image_panels(count: int, size: tuple[int, int], width: float, lines: int = 1) -> ImagePanels:
    """A new figure with room for images of one shape, at most four in a row, one in a narrow figure.

    Args:
        count: Images.
        size: Width and height of each, in any unit.
        width: Inches of the figure.
        lines: Of remark below each.

    Returns:
        Axes of exactly the images' shape.
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
    return ImagePanels(panels=panels, bar=figure.add_axes(rectangle), panel_width=panel)
