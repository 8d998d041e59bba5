"""Values of boxes over an image, in plotly."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.plot.data.box_raster import gridded
from lvlmscope.plot.data.scale import scale_of
from lvlmscope.plot.drawing.overlay_matplotlib import LEVELS, OverlayStyle, PatchMap
from lvlmscope.plot.drawing.plotly_figures import PIXELS, plain, plotly_figure
from lvlmscope.plot.figure_style import is_narrow, wrapped

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Panels", "hovering_overlay"]

_ACROSS: Final = 4
_LONGEST_SIDE: Final = 640  # pixels of the image that travel in the figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panels:
    """The panels and their texts.

    Attributes:
        surfaces: The maps.
        titles: Two lines for each.
        label: Of the colour bar.
        note: Under the figure; may be empty.
    """

    surfaces: list[PatchMap]
    titles: list[tuple[str, str]]
    label: str
    note: str


def hovering_overlay(
    shown: Panels, size: tuple[int, int], background: "Image | None", look: OverlayStyle, width: float
) -> Any:
    """Maps over the image whose cells tell their value.

    Args:
        shown: Panels and texts.
        size: Width and height of the image.
        background: The image; None for maps alone.
        look: How they lie over it.
        width: Inches of the matplotlib figure beside it.

    Returns:
        The plotly figure.
    """
    from plotly.subplots import make_subplots

    across = 1 if is_narrow(width) else min(len(shown.surfaces), _ACROSS)
    down = -(-len(shown.surfaces) // across)
    panel = (width - 1.2) / across
    tall = panel * min(max(size[1] / size[0], 0.2), 4.0) + 0.75
    titles = [f"{plain(name)}<br>{percent}" for name, percent in shown.titles]
    gaps = {"horizontal_spacing": 0.02, "vertical_spacing": 0.55 / (tall * down)}
    figure = make_subplots(rows=down, cols=across, subplot_titles=titles, **gaps)
    scale = scale_of(*(surface.shown for surface in shown.surfaces))
    image = None if background is None else _embedded(background)
    note = "; ".join(text for text in (shown.note, "" if image else "the trace holds no image") if text)
    for number, surface in enumerate(shown.surfaces):
        place: dict[str, Any] = {"row": number // across + 1, "col": number % across + 1}
        if image is not None:
            box = {"x": 0, "y": 0, "sizex": size[0], "sizey": size[1], "yanchor": "top", "sizing": "stretch"}
            figure.add_layout_image(source=image, xref="x", yref="y", layer="below", **box, **place)
        for drawn in _drawn(surface, size, look, scale.high, opaque=image is None):
            figure.add_trace(drawn, **place)
        axis = f"x{number + 1}" if number else "x"
        figure.update_xaxes(range=[0, size[0]], visible=False, constrain="domain", **place)
        figure.update_yaxes(range=[size[1], 0], visible=False, scaleanchor=axis, constrain="domain", **place)
    shared = plotly_figure([], title=note, across="", up="", size=(width, tall * down))
    kept = {k: v for k, v in shared.layout.to_plotly_json().items() if k not in ("xaxis", "yaxis")}
    figure.update_layout(**kept)
    bar = {
        "title": {"text": plain(wrapped(shown.label, inches=max(tall * down - 0.6, 1.6))), "side": "right"},
        "thickness": 12,
    }
    axis_of_colours = {"cmin": scale.low, "cmax": scale.high, "colorscale": scale.colours, "colorbar": bar}
    figure.update_layout(coloraxis=axis_of_colours, height=round((tall * down + 0.7) * PIXELS))
    return figure


def _drawn(surface: PatchMap, size: tuple[int, int], look: OverlayStyle, most: float, *, opaque: bool) -> list[Any]:
    import plotly.graph_objects as go

    if surface.raster is None:
        across, down, cells = gridded(surface.boxes, surface.values)
    else:
        cells = surface.raster
        across, down = (np.linspace(0, side, n + 1) for side, n in zip(size, cells.shape[::-1], strict=True))
    told = "%{z:.4g}<extra></extra>"
    values = [[float(v) if np.isfinite(v) else None for v in row] for row in cells]
    opacity = 1.0 if opaque and look.alpha else look.alpha
    shared = {"z": values, "hovertemplate": told}
    drawn = [go.Heatmap(x=across, y=down, coloraxis="coloraxis", opacity=opacity, **shared)]
    if look.contour:
        middle = [(edges[1:] + edges[:-1]) / 2 for edges in (across, down)]
        steps = {"start": LEVELS[0] * most, "end": LEVELS[-1] * most, "size": (LEVELS[1] - LEVELS[0]) * most}
        style = {"contours": {**steps, "coloring": "none"}, "line": {"color": "white", "width": 2}, "showscale": False}
        style["showlegend"] = False
        drawn.append(go.Contour(x=middle[0], y=middle[1], z=values, hoverinfo="skip", **style))
    return drawn


def _embedded(image: "Image") -> str:
    """The image as a PNG within the figure, made smaller when it is large."""
    small = image.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
