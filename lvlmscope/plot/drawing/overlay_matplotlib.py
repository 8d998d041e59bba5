"""An overlay in matplotlib: maps over their image, a panel each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.palette import OTHER, UNDEFINED
from lvlmscope.plot.data.box_raster import rastered
from lvlmscope.plot.data.colour_scale import Scale, scale_of
from lvlmscope.plot.data.overlay_maps import LEVELS, OverlayMaps, OverlayStyle, PatchMap
from lvlmscope.plot.figure_style import add_note, inscription, is_narrow, new_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator
    from PIL.Image import Image

__all__ = ["draw_overlay"]

_Size = tuple[int, int]


def draw_overlay(
    content: OverlayMaps,
    size: _Size,
    background: "Image | None",
    style: OverlayStyle,
    *,
    width: float,
    ax: "Axes | None",
) -> Any:
    """The image itself, then a panel for each map, over one colour bar; one map alone in axes that are given.

    Args:
        content: Maps and texts.
        size: Width and height of the image.
        background: The image; None draws the maps alone, and a note says so.
        style: How the maps are drawn over it.
        width: Inches of a new figure.
        ax: Axes for one map; None for a new figure.

    Returns:
        The figure.
    """
    notes = [one.undefined_note for one in content.maps]
    lines = 3 if any(notes) else 1
    grid = None if ax is not None else _panel_grid(len(notes) + 1, size, width, lines)
    panels = [ax] if ax is not None else (grid.panels[1:] if grid else [])
    inches = grid.panel_width if grid else panels[0].get_window_extent().width / panels[0].figure.dpi
    scale = scale_of(*(one.shown for one in content.maps))
    for panel, (name, percent), one, note in zip(panels, content.titles, content.maps, notes, strict=True):
        cells = _draw_map(panel, size, background, one, scale=scale, style=style)
        panel.set_title(f"{wrapped(inscription(name), inches=inches, lines=1)}\n{percent}")
        panel.set_xlabel(wrapped(note, inches=inches, lines=lines))
    room = width * 0.92 if grid else inches
    bar_axes = {"cax": grid.bar} if grid else {"ax": panels}
    bar = panels[0].figure.colorbar(cells, **bar_axes, orientation="horizontal", ticks=_few_ticks(room))
    bar.set_label(wrapped(inscription(content.label), inches=room, lines=1 if grid else 4))
    if grid:
        _show_image(grid.panels[0], size, background, content.note)
    elif background is None:
        add_note(panels[0], "the trace holds no image: patches only")
    return panels[0].get_figure(root=True)


def _few_ticks(inches: float) -> "MaxNLocator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6 if inches > 4 else 3)


def _draw_map(
    ax: "Axes", size: _Size, background: "Image | None", patch_map: PatchMap, *, scale: Scale, style: OverlayStyle
) -> "ScalarMappable":
    """Draws a map over its image; what it returns makes a colour bar."""
    import matplotlib as mpl
    from matplotlib.collections import PolyCollection

    _prepare(ax, size)
    if background is not None:
        ax.imshow(background.convert("L"), cmap="gray", extent=_extent(size), vmin=-60, vmax=255)
    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    shared: dict[str, Any] = {"cmap": colours, "alpha": 1.0 if background is None and style.alpha else style.alpha}
    drawn: ScalarMappable
    if patch_map.raster is None:
        corners = [[(left, up), (right, up), (right, down), (left, down)] for left, up, right, down in patch_map.boxes]
        cells = PolyCollection(corners, linewidths=0, antialiaseds=False, **shared)
        cells.set_array(np.ma.masked_invalid(patch_map.values))
        ax.add_collection(cells)
        drawn = cells
    else:
        smooth = np.ma.masked_invalid(patch_map.raster)
        drawn = ax.imshow(smooth, extent=_extent(size), interpolation="bilinear", **shared)
    drawn.set_clim(scale.low, scale.high)
    if style.contour:
        _outline(ax, size, patch_map, scale)
    return drawn


def _outline(ax: "Axes", size: _Size, patch_map: PatchMap, scale: Scale) -> None:
    """Lines around what is above each level: along the patches' edges, or smooth where the map is."""
    field = patch_map.raster if patch_map.raster is not None else rastered(patch_map.boxes, patch_map.values, size)
    levels = [level * scale.high for level in LEVELS if level * scale.high < np.nanmax(np.append(field, -np.inf))]
    if levels:
        across, down = ((np.arange(n) + 0.5) * s / n for n, s in zip(field.shape[::-1], size, strict=True))
        ax.contour(across, down, np.nan_to_num(field), levels=levels, colors="black", linewidths=2.6)
        ax.contour(across, down, np.nan_to_num(field), levels=levels, colors="white", linewidths=1.2)


def _show_image(ax: "Axes", size: _Size, background: "Image | None", note: str) -> None:
    """The image by itself, or a note that there is none."""
    _prepare(ax, size)
    ax.set_title("image")
    if background is None:
        add_note(ax, "no image\nin the trace:\npatches only", centred=True)
    else:
        ax.imshow(background, extent=_extent(size))
    if note:
        add_note(ax, note)


def _extent(size: _Size) -> tuple[float, float, float, float]:
    return (0.0, float(size[0]), float(size[1]), 0.0)


def _prepare(ax: "Axes", size: _Size) -> None:
    left, right, bottom, top = _extent(size)
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
class _PanelGrid:
    """Axes in reading order, the axes of the colour bar below them, and a panel's width in inches."""

    panels: "list[Axes]"
    bar: "Axes"
    panel_width: float


def _panel_grid(count: int, size: _Size, width: float, lines: int) -> _PanelGrid:
    """A new figure of axes in the image's shape, at most four in a row, one in a narrow figure.

    Args:
        count: Panels.
        size: Width and height of each, in any unit.
        width: Inches of the figure.
        lines: Of remark below each.
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
    return _PanelGrid(panels=panels, bar=figure.add_axes(rectangle), panel_width=panel)
