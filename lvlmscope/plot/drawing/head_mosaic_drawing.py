"""A mosaic of heads in either backend: layer numbers up, head numbers across, no titles inside."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.data.head_mosaic import HeadMosaic
from lvlmscope.plot.drawing.map_colours import plotly_colours, translucent
from lvlmscope.plot.drawing.plotly_figures import PIXELS, plain, plotly_figure
from lvlmscope.plot.figure_style import LAYER_AXIS, inscription, new_figure, paper_style, thinned, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_mosaic", "mosaic_pixels"]

_TALLEST: Final = 10.0  # inches of all tiles
_MARGINS: Final = (0.9, 1.75)  # inches beside, and over and under the tiles
_ACROSS: Final = "query head"
_SHARP: Final = 1800  # pixels across


def draw_mosaic(mosaic: HeadMosaic, backend: str, ax: "Axes | None", width: float) -> Any:
    """Draws the mosaic.

    Args:
        mosaic: Tiles and texts.
        backend: `"matplotlib"` or `"plotly"`.
        ax: Axes to draw into; None for a new figure.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.
    """
    layers, heads = mosaic.tiles.shape[:2]
    tall = min((width - _MARGINS[0]) * mosaic.aspect * layers / heads, _TALLEST)
    size = (width, tall + _MARGINS[1])
    if backend == "plotly":
        return _hovering(mosaic, size)
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    with paper_style(ax):
        ax = ax if ax is not None else new_figure(*size).subplots()
        ax.imshow(
            mosaic_pixels(mosaic),
            extent=(-0.5, heads - 0.5, -0.5, layers - 0.5),
            aspect=mosaic.aspect,
            interpolation="nearest",
        )
        ax.spines[:].set_visible(False)
        box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
        for along, numbers, inches in (("x", mosaic.heads, box.width / 0.32), ("y", mosaic.layers, box.height / 0.22)):
            chosen = thinned(len(numbers), max(2, int(inches)))
            (ax.set_xticks if along == "x" else ax.set_yticks)(chosen, [str(numbers[n]) for n in chosen])
        ax.tick_params(length=2)
        ax.set_xlabel(_ACROSS)
        ax.set_ylabel(LAYER_AXIS)
        ax.set_title(wrapped(inscription(mosaic.title), inches=width * 0.85, points=10.5))
        colours = ListedColormap(translucent(mosaic.bar, 1.0, alone=True))
        drawn = ScalarMappable(Normalize(mosaic.bar.low, mosaic.bar.high), colours)
        extend = "max" if mosaic.bar.beyond else "neither"
        bar = ax.figure.colorbar(drawn, ax=ax, location="bottom", extend=extend, aspect=50)
        lines = [mosaic.label, mosaic.note] if mosaic.note else [mosaic.label]
        bar.set_label("\n".join(wrapped(inscription(line), inches=width * 0.85) for line in lines))
    return ax.get_figure(root=True)


def mosaic_pixels(mosaic: HeadMosaic) -> np.ndarray:
    """Red, green and blue of all tiles with a white point between them, layer 0 at the bottom ``[row, column, 3]``."""
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    layers, heads, rows, columns = mosaic.tiles.shape
    undefined = np.array(to_rgb(UNDEFINED))
    colours = np.asarray(mpl.colormaps[mosaic.bar.colours](np.nan_to_num(mosaic.tiles)))[..., :3]
    colours = np.where(np.isfinite(mosaic.tiles)[..., None], colours, undefined)
    gap = 1 if min(rows, columns) < 16 else 2
    framed = np.pad(colours, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1.0)
    upwards = framed[::-1].transpose(0, 2, 1, 3, 4)  # layer, row, head, column
    pixels = upwards.reshape(layers * (rows + gap), heads * (columns + gap), 3)
    return np.round(255 * pixels).astype(np.uint8)


def _hovering(mosaic: HeadMosaic, size: tuple[float, float]) -> Any:
    import plotly.graph_objects as go
    from PIL import Image

    layers, heads = mosaic.tiles.shape[:2]
    label = "\n".join(wrapped(line, inches=size[0] * 0.85) for line in (mosaic.label, mosaic.note) if line)
    hover = np.empty((layers, heads, 2), dtype=object)
    hover[..., 0], hover[..., 1] = np.array(mosaic.layers)[:, None], mosaic.heads
    drawn = go.Heatmap(
        z=mosaic.shares,
        customdata=hover,
        opacity=0.0,
        showscale=False,
        hovertemplate="layer %{customdata[0]}, head %{customdata[1]}: %{z:.3g} on the image<extra></extra>",
    )
    bar = {"orientation": "h", "y": -60 / (size[1] * PIXELS - 160), "yanchor": "top", "thickness": 12, "x": 0.5}
    marker = {
        "color": [mosaic.bar.low],
        "cmin": mosaic.bar.low,
        "cmax": mosaic.bar.high,
        "colorscale": plotly_colours(translucent(mosaic.bar, 1.0, alone=True)),
        "colorbar": {**bar, "title": {"text": plain(label), "side": "bottom"}},
        "opacity": 0,
        "showscale": True,
    }
    shown = go.Scatter(x=[0], y=[0], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
    figure = plotly_figure([drawn, shown], title=mosaic.title, across=_ACROSS, up=LAYER_AXIS, size=size)
    box = {"x": -0.5, "y": layers - 0.5, "sizex": heads, "sizey": layers, "sizing": "stretch", "layer": "below"}
    tiles = mosaic_pixels(mosaic)
    times = max(1, -(-_SHARP // tiles.shape[1]))  # else a browser blurs a small image
    pixels = Image.fromarray(tiles.repeat(times, 0).repeat(times, 1))
    figure.add_layout_image(source=pixels, xref="x", yref="y", **box)  # plotly packs it without loss
    figure.update_layout(height=round(size[1] * PIXELS) + 40, margin={"t": 50, "b": 150})
    for axis, numbers in (("xaxis", mosaic.heads), ("yaxis", mosaic.layers)):
        chosen = thinned(len(numbers), 40)
        figure.layout[axis].update(
            tickvals=chosen,
            ticktext=[str(numbers[n]) for n in chosen],
            range=[-0.5, len(numbers) - 0.5],
            showgrid=False,
            zeroline=False,
        )
    return figure
