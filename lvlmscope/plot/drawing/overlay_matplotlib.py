"""An overlay in matplotlib: the image, and maps over it, a panel each."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.palette import OTHER, UNDEFINED
from lvlmscope.plot.data.box_raster import rastered
from lvlmscope.plot.data.colour_scale import Scale
from lvlmscope.plot.data.overlay_maps import LEVELS, OverlayMaps, OverlayStyle, PatchMap
from lvlmscope.plot.data.panel_grid import PanelGrid, panel_grid
from lvlmscope.plot.drawing.map_colours import GREY, grey_image, over_grey, translucent
from lvlmscope.plot.figure_style import add_note, inscription, new_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
    from PIL.Image import Image

__all__ = ["NO_IMAGE", "draw_overlay", "grid_of", "placed_axes", "show_image"]

NO_IMAGE: Final = "the trace holds no image: patches only"
_Size = tuple[int, int]
_SMALL: Final = 7.0  # points of the title of a small panel


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
    image, grey = (None, GREY) if background is None else grey_image(background)
    if ax is not None:
        inches = ax.get_window_extent().width / ax.figure.dpi
        _draw_panel(ax, size, image, content.maps[0], style, inches=inches, small=False)
        if background is None:
            add_note(ax, NO_IMAGE)
        _draw_bar(ax.figure, content, style, grey, inches, ax=ax, alone=image is None and style.alpha > 0)
        return ax.get_figure(root=True)
    grid = grid_of(content, size, width)
    figure, panels, bar = placed_axes(grid)
    show_image(panels[0], size, background, small=content.small)
    for panel, one in zip(panels[1:], content.maps, strict=True):
        _draw_panel(panel, size, image, one, style, inches=grid.panel_width, small=content.small)
    _draw_bar(figure, content, style, grey, width * 0.92, cax=bar, alone=image is None and style.alpha > 0)
    return figure


def grid_of(content: OverlayMaps, size: _Size, width: float) -> PanelGrid:
    """Where the image and the maps of an overlay stand."""
    return panel_grid(
        len(content.maps) + 1,
        size,
        width,
        heads=max(len(one.title) for one in content.maps),
        feet=3 * (not content.small and any(one.note for one in content.maps)),
        notes=bool(content.note),
        small=content.small,
    )


def placed_axes(grid: PanelGrid) -> "tuple[Figure, list[Axes], Axes]":
    """A new figure with axes for each panel, and for the colour bar."""
    figure = new_figure(*grid.size)
    figure.set_layout_engine("none")
    width, height = grid.size
    placed = [
        figure.add_axes((left / width, bottom / height, wide / width, tall / height))
        for left, bottom, wide, tall in (*grid.panels, grid.bar)
    ]
    return figure, placed[:-1], placed[-1]


def _draw_bar(
    figure: Any, content: OverlayMaps, style: OverlayStyle, grey: float, inches: float, *, alone: bool, **where: Any
) -> None:
    """The colours as they are seen over the mean grey of the image."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = ListedColormap(over_grey(translucent(content.bar, style.alpha, alone=alone), grey))
    drawn = ScalarMappable(Normalize(content.bar.low, content.bar.high), colours)
    extend = "max" if content.bar.beyond else "neither"
    bar = figure.colorbar(drawn, orientation="horizontal", ticks=_few_ticks(inches), extend=extend, **where)
    lines = [content.label, content.note] if content.note else [content.label]
    most = 1 if "cax" in where else 4
    bar.set_label("\n".join(wrapped(inscription(line), inches=inches, lines=most) for line in lines))


def _few_ticks(inches: float) -> "MaxNLocator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6 if inches > 4 else 3)


def _draw_panel(
    ax: "Axes",
    size: _Size,
    image: "Image | None",
    patch_map: PatchMap,
    style: OverlayStyle,
    *,
    inches: float,
    small: bool,
) -> None:
    """A map over the grey image, with its title and its remark."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import ListedColormap

    _prepare(ax, size)
    if image is not None:
        ax.imshow(image, cmap="gray", extent=_extent(size), vmin=0, vmax=255)
    alone = image is None and style.alpha > 0
    colours = ListedColormap(translucent(patch_map.scale, style.alpha, alone=alone)).with_extremes(bad=UNDEFINED)
    drawn: Any
    if patch_map.raster is None:
        corners = [[(left, up), (right, up), (right, down), (left, down)] for left, up, right, down in patch_map.boxes]
        drawn = PolyCollection(corners, linewidths=0, antialiaseds=False, cmap=colours)
        drawn.set_array(np.ma.masked_invalid(patch_map.values))
        ax.add_collection(drawn)
    else:
        smooth = np.ma.masked_invalid(patch_map.raster)
        drawn = ax.imshow(smooth, extent=_extent(size), interpolation="bilinear", cmap=colours)
    drawn.set_clim(patch_map.scale.low, patch_map.scale.high)
    if style.contour:
        _outline(ax, size, patch_map)
    points = _SMALL if small else 10.5
    lines = [wrapped(inscription(line), inches=inches, points=points, lines=1) for line in patch_map.title]
    ax.set_title("\n".join(lines), fontsize=points, pad=2.5 if small else None)
    if not small:
        ax.set_xlabel(wrapped(patch_map.note, inches=inches, lines=3))


def _outline(ax: "Axes", size: _Size, patch_map: PatchMap) -> None:
    """Lines around what is above each level: along the patches' edges, or smooth where the map is."""
    field = patch_map.raster if patch_map.raster is not None else rastered(patch_map.boxes, patch_map.values, size)
    scale: Scale = patch_map.scale
    levels = [level * scale.high for level in LEVELS if level * scale.high < np.nanmax(np.append(field, -np.inf))]
    if levels:
        across, down = ((np.arange(n) + 0.5) * s / n for n, s in zip(field.shape[::-1], size, strict=True))
        ax.contour(across, down, np.nan_to_num(field), levels=levels, colors="black", linewidths=2.6)
        ax.contour(across, down, np.nan_to_num(field), levels=levels, colors="white", linewidths=1.2)


def show_image(ax: "Axes", size: _Size, background: "Image | None", *, small: bool = False) -> None:
    """The image by itself, or a note that there is none."""
    _prepare(ax, size)
    if small:
        ax.set_title("image", fontsize=_SMALL, pad=2.5)
    else:
        ax.set_title("image")
    if background is not None:
        ax.imshow(background, extent=_extent(size))
    elif not small:
        add_note(ax, "no image\nin the trace:\npatches only", centred=True)


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
