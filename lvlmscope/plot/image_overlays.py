"""``overlay``: a word's attention, or other values, over the image."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.image_boxes import background_of, boxes_of, layout_of
from lvlmscope.plot.data.overlay_maps import OverlayMaps, OverlayStyle, overlay_maps
from lvlmscope.plot.data.overlay_maps_from_arrays import maps_from_array
from lvlmscope.plot.data.overlay_panel_choice import OverlayPanels, WordChoice, choose_panels, words_with_maps
from lvlmscope.plot.data.unit_labels import map_label
from lvlmscope.plot.drawing.overlay_matplotlib import draw_overlay
from lvlmscope.plot.drawing.overlay_plotly import hovering_overlay
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH, paper_style
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.token_layout import Box, ImageLayout
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
    each: Literal["word", "layer", "head"] = "word",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    alpha: Annotated[float, Range(ge=0, le=1)] = 0.62,
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

    A list of words gives a panel for each, a set of words one panel of their mean; panels share one scale. A new figure
    shows the image itself first. Where tokens overlap (tiles over an overview), the attention of all is added up, each
    token's spread evenly over its box, and given per area of the largest patch; the title's share is that of the tokens
    drawn.

    With `values=`, other maps are drawn in the same way: of `lvlmscope.occlusion` or `integrated_gradients`, whose sum
    stands in the title, or any array with dims word and key, or word, row and column.

    Args:
        trace: A trace whose layout knows the patches.
        word: A word of the answer, a step's number, a set of them, or a list of such.
        values: Maps of words to draw instead of attention; rows and columns divide the whole image.
        each: What panels differ in: the `"word"`, or for one word or set the `"layer"` or `"head"`; of more than 12
            layers or heads 12 are shown, evenly spaced.
        layers: Decoder layer numbers to average over, or to show, negative ones counted from the end; None for all.
        heads: Query head numbers to average over, or to show, 0 or more; None for all.
        alpha: Opacity of the map, from 0 to 1.
        contour: Lines around what is above 25, 50 and 75 % of the highest value; with `alpha=0` the lines alone.
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
            option outside its range, several panels for one `ax`, or `ax` with plotly.
        GeometryError: Which pixels a token covers is not known (with the reason), or the image is another one.
        ShapeError: `values` has other dims, or no map of the word.
        ImageInputError: `image` names a file that is not there, or that is no image.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> overlay(planted_trace(patch=7), "word1").axes[1].get_title(loc="left")
        '"word1"\n50 % on the image'
    """
    check_backend(backend, ax)
    require_image(trace)
    style = OverlayStyle(alpha=alpha, contour=contour, smoothing=smoothing)
    layout = layout_of(trace, image_index)
    background = background_of(trace, image_index, image)
    boxes = partial(boxes_of, layout, tile, frame)
    if values is None:
        content = _of_attention(choose_panels(trace, word, each, layers, heads), boxes, layout, style)
    else:
        words = words_with_maps(trace, word, averaged=each == "word" and layers is None and heads is None)
        content = _of_array(values, words, boxes, layout, style)
    if ax is not None and len(content.titles) > 1:
        raise ModelInputError(message(f"{len(content.titles)} {each}s", "1 with ax=", "leave ax out"))
    size = layout.size or (1, 1)
    if backend == "plotly":
        return hovering_overlay(content, size, background, style, width)
    with paper_style(ax):
        return draw_overlay(content, size, background, style, width=width, ax=ax)


def _of_attention(
    panels: OverlayPanels, boxes_of_tokens: _Boxes, layout: ImageLayout, style: OverlayStyle
) -> OverlayMaps:
    boxes, keys = boxes_of_tokens()
    shares = [panel.attention[keys] for panel in panels.each]
    titles = [(panel.name, _percent(share)) for panel, share in zip(panels.each, shares, strict=True)]
    label = "attention on a patch (share of 1)" + (f"; {panels.shared}" if panels.shared else "")
    size, smoothing = layout.size or (1, 1), style.smoothing
    return overlay_maps(shares, boxes, size, smoothing=smoothing, titles=titles, label=label, note=panels.note)


def _of_array(
    values: "xr.DataArray", words: Sequence[Word], boxes_of_tokens: _Boxes, layout: ImageLayout, style: OverlayStyle
) -> OverlayMaps:
    boxes, maps = maps_from_array(values, words, layout.size, boxes_of_tokens)
    titles = [(f'"{word.text}"', _sum_of(one, values)) for word, one in zip(words, maps, strict=True)]
    size, smoothing = layout.size or (1, 1), style.smoothing
    return overlay_maps(maps, boxes, size, smoothing=smoothing, titles=titles, label=map_label(values))


def _percent(share: np.ndarray) -> str:
    return f"{100 * share.sum():.0f} % on the image" if np.isfinite(share).all() else "? % on the image"


def _sum_of(values: np.ndarray, array: "xr.DataArray") -> str:
    if not np.isfinite(values).all():
        return "sum ?"
    return f"sum {values.sum():+.2g} {array.attrs.get('units', '')}".rstrip()
