"""Layer x head heatmaps of any signal."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, message
from lvlmscope.plot.style import DIVERGING, SEQUENTIAL, new_figure, thinned
from lvlmscope.plot.views import image_attention
from lvlmscope.record import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_heatmap", "heatmap"]

MOST_LABELS = 24


def heatmap(
    signal: Trace | xr.DataArray,
    *,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    numbers: bool | None = None,
    ax: "Axes | None" = None,
    title: str | None = None,
) -> Any:
    """A layer x head heatmap: layer 0 at the bottom, head 0 on the left.

    Args:
        signal: A (layer, head) array such as `lvlmscope.diagnostics.visual_attention_ratio` gives, or a trace: then the
            share of each head's attention on the image, mean over the answer's words.
        backend: `"matplotlib"`, or `"plotly"` with values on hover.
        numbers: Write each value into its cell; None writes them up to 12 heads and 24 layers.
        ax: Matplotlib axes to draw into.
        title: Title; None takes the signal's name.

    Returns:
        The figure, of matplotlib or of plotly.

    Raises:
        ModelInputError: Other dims, no values, an unknown backend, or `ax` with plotly.
    """
    values = image_attention(signal) if isinstance(signal, Trace) else signal
    if set(values.dims) != {"layer", "head"} or not values.size:
        received = f"dims {tuple(values.dims)} of sizes {values.shape}"
        todo = "select or average the other dims first"
        raise ModelInputError(message("draw a heatmap", received, "dims layer and head with values", todo))
    values = values.transpose("layer", "head")
    title = str(values.attrs.get("long_name", values.name)) if title is None else title
    if backend == "plotly":
        if ax is not None:
            raise ModelInputError(message("draw a heatmap", "ax with plotly", "ax with matplotlib", "leave ax out"))
        return _plotly(values, title)
    if backend != "matplotlib":
        raise ModelInputError(message("draw a heatmap", f"backend={backend!r}", "matplotlib or plotly", "choose one"))
    if ax is None:
        layers, heads = values.shape
        figure = new_figure(min(10.0, 2.6 + 0.52 * heads), min(9.0, 1.6 + 0.42 * layers))
        ax = figure.add_subplot()
    draw_heatmap(ax, values, numbers=numbers, title=title)
    return ax.figure


def draw_heatmap(
    ax: "Axes",
    values: xr.DataArray,
    *,
    numbers: bool | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
    diverging: bool = False,
) -> None:
    """Draws one heatmap with its colour bar.

    Args:
        ax: Where to draw.
        values: Dims (layer, head); NaN cells are hatched and said so.
        numbers: As in `heatmap`.
        title: Title.
        limits: Colour limits; None takes the values' own.
        diverging: Colours centred at 0, for differences.
    """
    array = np.asarray(values, dtype=float)
    missing = ~np.isfinite(array)
    low, high = limits or ((np.nanmin(array), np.nanmax(array)) if not missing.all() else (0.0, 1.0))
    picture = ax.imshow(
        np.ma.masked_where(missing, array),
        origin="lower",
        aspect="auto",
        cmap=DIVERGING if diverging else SEQUENTIAL,
        vmin=low,
        vmax=high if high > low else low + 1e-9,
        interpolation="nearest",
    )
    thinned(ax, "x", list(values.coords["head"].values), most=MOST_LABELS)
    thinned(ax, "y", list(values.coords["layer"].values), most=MOST_LABELS)
    ax.set_xlabel("head")
    ax.set_ylabel("layer (0 at the bottom)")
    ax.set_title(title, fontsize=10)
    units = values.attrs.get("units", "")
    bar = ax.figure.colorbar(picture, ax=ax, pad=0.02)
    bar.set_label("share of attention" if units == "1" else str(units))
    if missing.any():
        ax.set_facecolor("#dddddd")
        ax.text(0.0, -0.2, "grey: not defined (NaN)", transform=ax.transAxes, fontsize=8, va="top")
    few = array.shape[1] <= 12 and array.shape[0] <= 24
    if numbers or (numbers is None and few):
        _write_numbers(ax, array, picture)


def _write_numbers(ax: "Axes", array: np.ndarray, picture: Any) -> None:
    for (layer, head), value in np.ndenumerate(array):
        if np.isfinite(value):
            red, green, blue, _ = picture.cmap(picture.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.1f}"
            ax.text(head, layer, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")


def _plotly(values: xr.DataArray, title: str) -> Any:
    import plotly.graph_objects as go

    units = values.attrs.get("units", "")
    label = "share of attention" if units == "1" else str(units)
    heat = go.Heatmap(
        z=values.values,
        x=values.coords["head"].values,
        y=values.coords["layer"].values,
        colorscale=SEQUENTIAL,
        colorbar={"title": {"text": label, "side": "right"}},
        hovertemplate="layer %{y}, head %{x}<br>%{z:.4f}<extra></extra>",
        hoverongaps=True,
    )
    figure = go.Figure(heat)
    figure.update_layout(title=title, template="simple_white", width=640, height=480)
    figure.update_xaxes(title="head")
    figure.update_yaxes(title="layer (0 at the bottom)")
    return figure
