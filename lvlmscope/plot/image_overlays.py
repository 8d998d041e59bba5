"""``overlay``: a word's attention, or other values, over the image."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import check_colour_map
from lvlmscope.plot.data.head_mosaic import HeadMosaic, head_mosaic
from lvlmscope.plot.data.image_boxes import background_of, boxes_of, layout_of, names_of_part
from lvlmscope.plot.data.overlay_maps import LARGE, OverlayMaps, OverlayStyle, PatchValues, overlay_maps
from lvlmscope.plot.data.overlay_maps_from_arrays import maps_from_array
from lvlmscope.plot.data.overlay_panel_choice import (
    OverlayPanels,
    Panels,
    WordChoice,
    choose_heads,
    choose_panels,
    words_with_maps,
)
from lvlmscope.plot.data.unit_labels import map_label
from lvlmscope.plot.drawing.head_mosaic_drawing import draw_mosaic
from lvlmscope.plot.drawing.overlay_matplotlib import draw_overlay
from lvlmscope.plot.drawing.overlay_plotly import hovering_overlay
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH, paper_style
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.token_layout import Box
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from PIL.Image import Image

__all__ = ["overlay"]

_Boxes = Callable[[], tuple[list[Box], list[int]]]  # boxes and keys of the image tokens


@checked
@task("draw attention over the image")
def overlay(
    trace: Trace,
    word: "WordChoice | Sequence[WordChoice]",
    *,
    values: "xr.DataArray | None" = None,
    each: Panels = "word",
    layers: Sequence[int] | None = None,
    heads: Sequence[int | tuple[int, int]] | None = None,
    sinks: Literal["keep", "exclude", "first_key"] | "xr.DataArray" = "keep",
    scale: Literal["each", "shared", "robust"] | None = None,
    vmax: Annotated[float, Range(gt=0)] | None = None,
    cmap: str | None = None,
    alpha: Annotated[float, Range(ge=0, le=1)] = 0.75,
    contour: bool = False,
    smoothing: Annotated[float, Range(ge=0)] = 0.0,
    image: "Image | str | Path | None" = None,
    image_index: int = 0,
    frame: int = 0,
    tile: int | None = None,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    width: float = WIDTH,
) -> Any:
    r"""A word's attention on each patch, over the image; the mean over its tokens, the layers and the heads.

    The higher a value, the less of the grey image shows through; the colour bar has the colours over its mean grey. A
    list of words gives a panel for each, a set of words one panel of their mean. A new figure shows the image itself
    first. Where tokens overlap (tiles over an overview), the attention of all is added up, each token's spread evenly
    over its box, and given per area of the largest patch. The title gives the share of attention on the tokens drawn,
    and on all image tokens where these are more.

    With `values=`, other maps are drawn in the same way: of `lvlmscope.occlusion` or `integrated_gradients`, whose sum
    stands in the title, or any array with dims word and key, or word, row and column.

    Args:
        trace: A trace whose layout knows the patches.
        word: A word of the answer, a step's number, a set of them, or a list of such.
        values: Maps of words to draw instead of attention; rows and columns divide the whole image.
        each: What panels differ in: the `"word"`, or for one word or set the `"layer"` or `"head"`; `"layer_head"` is
            one mosaic of all layers and heads, or of those chosen, without the image.
        layers: Decoder layer numbers to average over, or to show, negative ones counted from the end; None for all.
        heads: Query head numbers to average over, or to show, 0 or more; or (layer, head) pairs, averaged over or with
            `each="head"` a panel each; None for all.
        sinks: `"exclude"` leaves out the keys that `attention_sinks` finds in a layer and renormalises the rows;
            `"first_key"` key 0; or a result of `attention_sinks`. Patches left out of all layers are grey.
        scale: `"shared"` from 0 to the highest value of all panels; `"robust"` shared, up to the value below which 98 %
            of the values that are not 0 lie, where the highest is more than twice that; `"each"` so for each panel.
            None is `"each"` for layers and heads, else `"robust"`.
        vmax: Value of the last colour, for all panels.
        cmap: A colour map of matplotlib; None for viridis, or for values of both signs RdBu_r.
        alpha: Opacity of the highest value, from 0 to 1.
        contour: Lines around what is above 25, 50 and 75 % of the scale; with `alpha=0` the lines alone.
        smoothing: Standard deviation of a blur in widths of the largest patch, for the eye: values are then of no
            patch, and the colour bar says so. 0 shows what was measured.
        image: The image or its file; None takes the trace's own, which it keeps wherever the file went.
        image_index: Which image of the prompt, counted from 0.
        frame: Which frame of a video, counted from 0.
        tile: Only this tile, 0 being the overview; None for all.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw one panel into; matplotlib only.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: The answer has no such word, no such image, tile, frame, layer or head, no image keys, an
            option outside its range, an unknown colour map, `vmax` with `scale="each"`, several panels for one `ax`,
            or `ax` with plotly.
        GeometryError: Which pixels a token covers is not known (with the reason), or the image is another one.
        ShapeError: `values` has other dims, or no map of the word; sinks of another trace.
        ImageInputError: `image` names a file that is not there, or that is no image.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> overlay(planted_trace(patch=7), "word1").axes[1].get_title(loc="left")
        '"word1"\n50 % on the image'
    """
    check_backend(backend, ax)
    require_image(trace)
    style = _style(scale, vmax, cmap, each, alpha=alpha, contour=contour, smoothing=smoothing)
    layout = layout_of(trace, image_index)
    background = background_of(trace, image_index, image)
    boxes, size = partial(boxes_of, layout, tile, frame), layout.size or (1, 1)
    names = names_of_part(trace, image_index, tile, frame)
    if values is not None:
        plain = each == "word" and layers is None and heads is None and isinstance(sinks, str) and sinks == "keep"
        words = words_with_maps(trace, word, averaged=plain)
        content = _of_array(values, words, boxes, size, style)
    elif each == "layer_head":
        heads_of_word = choose_heads(trace, word, layers, heads, sinks=sinks)
        mosaic = _of_heads(heads_of_word, boxes, names[0] or names[1], size, style)
        return draw_mosaic(mosaic, backend, ax, width)
    else:
        panels = choose_panels(trace, word, each, layers, heads, sinks=sinks)
        content = _of_attention(panels, trace.image_keys.numpy(), boxes, names, (size, style))
    if ax is not None and len(content.maps) > 1:
        raise ModelInputError(message(f"{len(content.maps)} {each}s", "1 with ax=", "leave ax out"))
    if backend == "plotly":
        return hovering_overlay(content, size, background, style, width)
    with paper_style(ax):
        return draw_overlay(content, size, background, style, width=width, ax=ax)


def _style(
    scale: Literal["each", "shared", "robust"] | None, vmax: float | None, cmap: str | None, each: Panels, **rest: Any
) -> OverlayStyle:
    if vmax is not None and scale is not None and scale != "shared":
        got, fix = f"vmax={vmax:g} and scale={scale!r}", "leave one of them out"
        raise ModelInputError(message(got, "vmax= for all panels, or a scale that is found", fix))
    check_colour_map(cmap)
    usual: Literal["each", "robust"] = "robust" if each == "word" else "each"
    return OverlayStyle(scale=scale or usual, vmax=vmax, colours=cmap, **rest)


def _of_heads(
    chosen: tuple[str, np.ndarray, tuple[list[int], list[int]], str],
    boxes_of_tokens: _Boxes,
    drawn: str,
    size: tuple[int, int],
    style: OverlayStyle,
) -> HeadMosaic:
    name, attention, numbers, left_out = chosen
    boxes, keys = boxes_of_tokens()
    label = "attention on a patch (share of 1)" + (f"; {left_out}" if left_out else "")
    title = f"{name}: attention of each head on {drawn}"
    return head_mosaic(attention[..., keys], boxes, size, style, axes=numbers, texts=(title, label))


def _of_attention(
    panels: OverlayPanels,
    image_keys: np.ndarray,
    boxes_of_tokens: _Boxes,
    names: tuple[str, str],
    drawing: tuple[tuple[int, int], OverlayStyle],
) -> OverlayMaps:
    boxes, keys = boxes_of_tokens()
    small = len(panels.each) > LARGE
    shown = []
    for panel in panels.each:
        share, gone = panel.attention[keys], panel.left_out[keys]
        parts = _percents(share[~gone], panel.attention[image_keys & ~panel.left_out], names)
        title = (f"{panel.name}: {parts[0].split(' %')[0]} %",) if small else (panel.name, *parts)
        shown.append(PatchValues(title=title, values=share, left_out=int(gone.sum())))
    label = "attention on a patch (share of 1)" + (f"; {panels.shared}" if panels.shared else "")
    part = f"titles: share on {names[0] or names[1]}" if small else ""
    return overlay_maps(shown, boxes, *drawing, label=label, note="; ".join(filter(None, (panels.note, part))))


def _of_array(
    values: "xr.DataArray", words: Sequence[Word], boxes_of_tokens: _Boxes, size: tuple[int, int], style: OverlayStyle
) -> OverlayMaps:
    boxes, maps = maps_from_array(values, words, size, boxes_of_tokens)
    shown = [
        PatchValues(title=(f'"{word.text}"', _sum_of(one, values)), values=one)
        for word, one in zip(words, maps, strict=True)
    ]
    return overlay_maps(shown, boxes, size, style, label=map_label(values))


def _percents(part: np.ndarray, whole: np.ndarray, names: tuple[str, str]) -> tuple[str, ...]:
    """Shares of attention on the tokens drawn and on all image tokens, one alone where they are the same tokens."""
    drawn = f"{_percent(part)} on {names[0] or names[1]}"
    return (drawn, f"{_percent(whole)} on {names[1]}") if names[0] else (drawn,)


def _percent(share: np.ndarray) -> str:
    return f"{100 * share.sum():.0f} %" if np.isfinite(share).all() else "? %"


def _sum_of(values: np.ndarray, array: "xr.DataArray") -> str:
    if not np.isfinite(values).all():
        return "sum ?"
    return f"sum {values.sum():+.2g} {array.attrs.get('units', '')}".rstrip()
