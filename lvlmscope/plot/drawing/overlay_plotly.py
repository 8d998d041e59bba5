"""An overlay in plotly: maps over their image, a panel each, with values on hover."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.plot.data.box_raster import gridded
from lvlmscope.plot.data.colour_scale import scale_of
from lvlmscope.plot.data.overlay_maps import LEVELS, OverlayMaps, OverlayStyle, PatchMap
from lvlmscope.plot.drawing.plotly_figures import PIXELS, plain, plotly_figure
from lvlmscope.plot.figure_style import is_narrow, wrapped
from lvlmscope.traces.image_identity import data_uri

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["hovering_overlay"]

_ACROSS: Final = 4
_LONGEST_SIDE: Final = 640  # pixels of the image that travel in the figure


def hovering_overlay(
    content: OverlayMaps, size: tuple[int, int], background: "Image | None", style: OverlayStyle, width: float
) -> Any:
    """Maps over the image with values on hover.

    Args:
        content: Maps and texts.
        size: Width and height of the image.
        background: The image; None for maps alone.
        style: How they are drawn over it.
        width: Inches of the matplotlib figure beside it.

    Returns:
        The plotly figure.
    """
    from plotly.subplots import make_subplots

    across = 1 if is_narrow(width) else min(len(content.maps), _ACROSS)
    down = -(-len(content.maps) // across)
    panel = (width - 1.2) / across
    tall = panel * min(max(size[1] / size[0], 0.2), 4.0) + 0.75
    titles = [f"{plain(name)}<br>{percent}" for name, percent in content.titles]
    gaps = {"horizontal_spacing": 0.02, "vertical_spacing": 0.55 / (tall * down)}
    figure = make_subplots(rows=down, cols=across, subplot_titles=titles, **gaps)
    scale = scale_of(*(one.shown for one in content.maps))
    image = None if background is None else data_uri(background, longest=_LONGEST_SIDE)
    note = "; ".join(text for text in (content.note, "" if image else "the trace holds no image") if text)
    for number, patch_map in enumerate(content.maps):
        cell: dict[str, Any] = {"row": number // across + 1, "col": number % across + 1}
        if image is not None:
            box = {"x": 0, "y": 0, "sizex": size[0], "sizey": size[1], "yanchor": "top", "sizing": "stretch"}
            figure.add_layout_image(source=image, xref="x", yref="y", layer="below", **box, **cell)
        for drawn in _drawn(patch_map, size, style, scale.high, opaque=image is None):
            figure.add_trace(drawn, **cell)
        axis = f"x{number + 1}" if number else "x"
        figure.update_xaxes(range=[0, size[0]], visible=False, constrain="domain", **cell)
        figure.update_yaxes(range=[size[1], 0], visible=False, scaleanchor=axis, constrain="domain", **cell)
    shared = plotly_figure([], title=note, across="", up="", size=(width, tall * down))
    kept = {k: v for k, v in shared.layout.to_plotly_json().items() if k not in ("xaxis", "yaxis")}
    figure.update_layout(**kept)
    bar = {
        "title": {"text": plain(wrapped(content.label, inches=max(tall * down - 0.6, 1.6))), "side": "right"},
        "thickness": 12,
    }
    axis_of_colours = {"cmin": scale.low, "cmax": scale.high, "colorscale": scale.colours, "colorbar": bar}
    figure.update_layout(coloraxis=axis_of_colours, height=round((tall * down + 0.7) * PIXELS))
    return figure


def _drawn(patch_map: PatchMap, size: tuple[int, int], style: OverlayStyle, most: float, *, opaque: bool) -> list[Any]:
    import plotly.graph_objects as go

    if patch_map.raster is None:
        across, down, cells = gridded(patch_map.boxes, patch_map.values)
    else:
        cells = patch_map.raster
        across, down = (np.linspace(0, side, n + 1) for side, n in zip(size, cells.shape[::-1], strict=True))
    values = [[float(v) if np.isfinite(v) else None for v in row] for row in cells]
    opacity = 1.0 if opaque and style.alpha else style.alpha
    shared = {"z": values, "hovertemplate": "%{z:.4g}<extra></extra>"}
    drawn = [go.Heatmap(x=across, y=down, coloraxis="coloraxis", opacity=opacity, **shared)]
    if style.contour:
        middle = [(edges[1:] + edges[:-1]) / 2 for edges in (across, down)]
        steps = {"start": LEVELS[0] * most, "end": LEVELS[-1] * most, "size": (LEVELS[1] - LEVELS[0]) * most}
        lines = {"contours": {**steps, "coloring": "none"}, "line": {"color": "white", "width": 2}, "showscale": False}
        lines["showlegend"] = False
        drawn.append(go.Contour(x=middle[0], y=middle[1], z=values, hoverinfo="skip", **lines))
    return drawn
