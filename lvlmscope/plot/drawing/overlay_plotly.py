"""An overlay in plotly: the image, and maps over it with values on hover, a panel each."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.palette import OTHER, UNDEFINED
from lvlmscope.plot.data.box_raster import gridded, rastered
from lvlmscope.plot.data.overlay_maps import LEVELS, OverlayMaps, OverlayStyle, PatchMap
from lvlmscope.plot.data.panel_grid import PanelGrid
from lvlmscope.plot.drawing.map_colours import GREY, grey_image, over_grey, plotly_colours, translucent
from lvlmscope.plot.drawing.overlay_matplotlib import NO_IMAGE, grid_of
from lvlmscope.plot.drawing.plotly_figures import PIXELS, plain
from lvlmscope.plot.figure_style import wrapped
from lvlmscope.traces.image_identity import data_uri

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["add_bar", "add_text", "hovering_overlay", "placed_panels", "show_plotly_image"]

_LONGEST: Final = 640  # pixels of the image that travel in the figure
_LONGEST_SMALL: Final = 160
_POINTS: Final = 13  # pixels of a letter, about 10.5 points of the matplotlib figure
_SMALL_POINTS: Final = 9
_LETTER: Final = _POINTS * 72 / PIXELS  # points, for wrapping


def hovering_overlay(
    content: OverlayMaps, size: tuple[int, int], background: "Image | None", style: OverlayStyle, width: float
) -> Any:
    """The image itself, then maps over it with values on hover.

    Args:
        content: Maps and texts.
        size: Width and height of the image.
        background: The image; None for maps alone.
        style: How they are drawn over it.
        width: Inches of the matplotlib figure beside it.

    Returns:
        The plotly figure.
    """
    grid = grid_of(content, size, width)
    figure = placed_panels(grid, size)
    longest = _LONGEST_SMALL if content.small else _LONGEST
    image, grey = (None, GREY) if background is None else grey_image(background)
    show_plotly_image(figure, 0, None if background is None else data_uri(background, longest=longest), size)
    points = _SMALL_POINTS if content.small else _POINTS
    if background is None and not content.small:
        add_text(figure, grid, 0, "no image\nin the trace:\npatches only", side="middle")
    add_text(figure, grid, 0, "image", points=points)
    source = None if image is None else data_uri(image, longest=longest)
    for number, patch_map in enumerate(content.maps, 1):
        show_plotly_image(figure, number, source, size)
        for drawn in _drawn(patch_map, size, style, alone=image is None):
            figure.add_trace(drawn.update(xaxis=_axis("x", number), yaxis=_axis("y", number)))
        lines = [
            wrapped(line, inches=grid.panel_width, points=points * 72 / PIXELS, lines=1) for line in patch_map.title
        ]
        add_text(figure, grid, number, "\n".join(lines), points=points)
        if not content.small:
            note = patch_map.note or (NO_IMAGE if image is None and len(content.maps) == 1 else "")
            add_text(figure, grid, number, wrapped(note, inches=grid.panel_width, lines=3), side="below")
    colours = over_grey(translucent(content.bar, style.alpha, alone=image is None and style.alpha > 0), grey)
    add_bar(figure, grid, content, colours)
    return figure


def placed_panels(grid: PanelGrid, size: tuple[int, int]) -> Any:
    """A figure with an image's axes in each place of a grid; no axis has numbers."""
    import plotly.graph_objects as go

    width, height = grid.size
    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        width=round(width * PIXELS),
        height=round(height * PIXELS),
        margin={"t": 0, "b": 0, "l": 0, "r": 0},
        plot_bgcolor="white",
        showlegend=False,
    )
    frame: dict[str, Any] = {
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "mirror": True,
    }
    frame |= {"linecolor": OTHER, "linewidth": 1, "ticks": ""}
    for number, (left, bottom, wide, tall) in enumerate(grid.panels):
        x, y = _axis("xaxis", number), _axis("yaxis", number)
        across = [left / width, min((left + wide) / width, 1.0)]
        figure.layout[x] = {"domain": across, "range": [0, size[0]], "anchor": _axis("y", number), **frame}
        up = [bottom / height, min((bottom + tall) / height, 1.0)]
        linked = {"scaleanchor": _axis("x", number), "constrain": "domain"}
        figure.layout[y] = {"domain": up, "range": [size[1], 0], "anchor": _axis("x", number), **linked, **frame}
    return figure


def show_plotly_image(figure: Any, number: int, source: str | None, size: tuple[int, int]) -> None:
    """An image below what is drawn in a panel, and nothing to hover in a panel of an image alone."""
    import plotly.graph_objects as go

    if number == 0:  # without a trace an axis is not drawn
        blank = go.Scatter(x=[0], y=[0], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
        figure.add_trace(blank.update(xaxis="x", yaxis="y"))
    if source is not None:
        box = {"x": 0, "y": 0, "sizex": size[0], "sizey": size[1], "yanchor": "top", "sizing": "stretch"}
        axes = {"xref": _axis("x", number), "yref": _axis("y", number)}
        figure.add_layout_image(source=source, layer="below", **axes, **box)


def add_text(
    figure: Any, grid: PanelGrid, number: int, text: str, *, side: str = "above", points: int = _POINTS
) -> None:
    """A title over a panel, a remark under it, or a text in its middle."""
    (left, bottom, wide, tall), (width, height) = grid.panels[number], grid.size
    y, anchor = {"above": (bottom + tall, "bottom"), "below": (bottom, "top"), "middle": (bottom + tall / 2, "middle")}[
        side
    ]
    x, across = (left, "left") if side == "above" else (left + wide / 2, "center")
    if text:
        place = {
            "xref": "paper",
            "yref": "paper",
            "x": x / width,
            "y": y / height,
            "yanchor": anchor,
            "xanchor": across,
        }
        align = {"align": "left" if side == "above" else "center", "showarrow": False, "borderpad": 2}
        figure.add_annotation(text=plain(text), font={"size": points}, **place, **align)


def add_bar(figure: Any, grid: PanelGrid, content: Any, colours: np.ndarray) -> None:
    """The colour bar below all panels, with its label and its note.

    Args:
        figure: Where.
        grid: The places.
        content: Has `bar`, `label` and `note`.
        colours: As they are seen ``[step, 4]``.
    """
    (left, bottom, wide, tall), (width, height) = grid.bar, grid.size
    scale = content.bar
    lines = [wrapped(line, inches=width * 0.92, lines=1) for line in (content.label, content.note) if line]
    figure.update_layout(
        coloraxis={
            "cmin": scale.low,
            "cmax": scale.high,
            "colorscale": plotly_colours(colours),
            "colorbar": {
                "orientation": "h",
                "x": left / width,
                "xanchor": "left",
                "len": wide / width,
                "y": (bottom + tall) / height,
                "yanchor": "top",
                "thickness": round(tall * PIXELS),
                "xpad": 0,
                "ypad": 0,
                "outlinewidth": 0.5,
                "title": {"text": plain("\n".join(lines)), "side": "bottom"},
            },
        }
    )
    import plotly.graph_objects as go

    marker = {"color": [scale.low], "coloraxis": "coloraxis", "opacity": 0}
    figure.add_trace(go.Scatter(x=[0], y=[0], mode="markers", marker=marker, hoverinfo="skip", xaxis="x", yaxis="y"))


def _axis(name: str, number: int) -> str:
    return f"{name}{number + 1}" if number else name


def _drawn(patch_map: PatchMap, size: tuple[int, int], style: OverlayStyle, *, alone: bool) -> list[Any]:
    import plotly.graph_objects as go

    if patch_map.raster is None:
        across, down, cells = gridded(patch_map.boxes, patch_map.values)
        covered = gridded(patch_map.boxes, np.ones(len(patch_map.boxes)))[2]
    else:
        cells = patch_map.raster
        covered = np.ones_like(cells)
        across, down = (np.linspace(0, side, n + 1) for side, n in zip(size, cells.shape[::-1], strict=True))
    values = [[float(v) if np.isfinite(v) else None for v in row] for row in cells]
    scale = patch_map.scale
    shared = {"x": across, "y": down, "showscale": False, "hoverongaps": False}
    colours = plotly_colours(translucent(scale, style.alpha, alone=alone and style.alpha > 0))
    shown = {"z": values, "zmin": scale.low, "zmax": scale.high, "colorscale": colours}
    drawn = [go.Heatmap(hovertemplate="%{z:.4g}<extra></extra>", **shown, **shared)]
    if (missing := ~np.isfinite(cells) & np.isfinite(covered)).any():
        grey = [[0, UNDEFINED], [1, UNDEFINED]]
        holes = [[1.0 if hole else None for hole in row] for row in missing]
        drawn.append(go.Heatmap(z=holes, colorscale=grey, hovertemplate="no value<extra></extra>", **shared))
    return drawn + (_outline(patch_map, size) if style.contour else [])


def _outline(patch_map: PatchMap, size: tuple[int, int]) -> list[Any]:
    """Lines around what is above each level: along the patches' edges, or smooth where the map is."""
    import plotly.graph_objects as go

    field = patch_map.raster if patch_map.raster is not None else rastered(patch_map.boxes, patch_map.values, size)
    across, down = ((np.arange(n) + 0.5) * side / n for n, side in zip(field.shape[::-1], size, strict=True))
    high = patch_map.scale.high
    steps = {"start": LEVELS[0] * high, "end": LEVELS[-1] * high, "size": (LEVELS[1] - LEVELS[0]) * high}
    lines: dict[str, Any] = {"contours": {**steps, "coloring": "none"}, "showscale": False, "showlegend": False}
    return [
        go.Contour(
            x=across, y=down, z=np.nan_to_num(field), line={"color": colour, "width": wide}, hoverinfo="skip", **lines
        )
        for colour, wide in (("black", 3.5), ("white", 1.6))
    ]
