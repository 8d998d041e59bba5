"""``overlay``: where in the image the model looked while it wrote a word."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.plot.data.box_raster import add_up, overlapping
from lvlmscope.plot.data.image_boxes import background_of, boxes_of, largest_area, layout_of
from lvlmscope.plot.data.overlay_maps_from_arrays import given_maps, label_of
from lvlmscope.plot.data.overlay_panel_choice import Asked, OverlayPanels, listed_words, sights_of
from lvlmscope.plot.data.scale import scale_of
from lvlmscope.plot.drawing.overlay_matplotlib import OverlayStyle, image_panels, note_of, paint, show_image, surface_of
from lvlmscope.plot.drawing.overlay_plotly import Panels, hovering_overlay
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH, add_note, inscription, paper_style, wrapped
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator
    from PIL.Image import Image

    from lvlmscope.traces.token_layout import Box, ImageLayout

__all__ = ["overlay"]


@task("draw attention over the image")
def overlay(
    trace: Trace,
    word: "Asked | Sequence[Asked]",
    *,
    values: "xr.DataArray | None" = None,
    each: Literal["word", "layer", "head"] = "word",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    alpha: float = 0.62,
    contour: bool = False,
    smoothing: float = 0.0,
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
    shows the image itself first. Where tokens lie over each other (tiles over an overview), the attention of all is
    added up, each token's spread evenly over its box, and given per area of the largest patch; the title's share is
    that of the tokens drawn.

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
    look = _look(alpha, contour=contour, smoothing=smoothing)
    where = layout_of(trace, image_index)
    background = background_of(trace, where, image, image_index)
    place = partial(boxes_of, where, tile, frame)
    if values is None:
        shown = _attention(sights_of(trace, word, each, layers, heads), where, place, look)
    else:
        words = listed_words(trace, word, plain=each == "word" and layers is None and heads is None)
        boxes, maps = given_maps(values, words, where.size, place)
        titles = [(f'"{each_word.text}"', _sum_of(one, values)) for each_word, one in zip(words, maps, strict=True)]
        shown = _panels(maps, boxes, where, look, (titles, label_of(values), ""))
    if ax is not None and len(shown.titles) > 1:
        got = f"{len(shown.titles)} {each}s"
        raise ModelInputError(message(got, "1 with ax=", "leave ax out"))
    if backend == "plotly":
        return hovering_overlay(shown, where.size or (1, 1), background, look, width)
    with paper_style():
        return _painted(shown, where, background, (look, width, ax))


def _painted(
    shown: Panels, where: "ImageLayout", background: "Image | None", how: "tuple[OverlayStyle, float, Axes | None]"
) -> Any:
    look, width, ax = how
    notes = [note_of(surface) for surface in shown.surfaces]
    lines = 3 if any(notes) else 1
    made = None if ax is not None else image_panels(len(notes) + 1, where.size or (1, 1), width, lines)
    maps = [ax] if ax is not None else (made.panels[1:] if made else [])
    inches = made.panel_width if made else maps[0].get_window_extent().width / maps[0].figure.dpi
    scale = scale_of(*(surface.shown for surface in shown.surfaces))
    for place, (name, percent), surface, note in zip(maps, shown.titles, shown.surfaces, notes, strict=True):
        cells = paint(place, where, background, surface, scale=scale, look=look)
        place.set_title(f"{wrapped(inscription(name), inches=inches, lines=1)}\n{percent}")
        place.set_xlabel(wrapped(note, inches=inches, lines=lines))
    room = width * 0.92 if made else inches
    bar_place = {"cax": made.bar} if made else {"ax": maps}
    bar = maps[0].figure.colorbar(cells, **bar_place, orientation="horizontal", ticks=_few_ticks(room))
    bar.set_label(wrapped(inscription(shown.label), inches=room, lines=1 if made else 4))
    if made:
        show_image(made.panels[0], where, background, shown.note)
    elif background is None:
        add_note(maps[0], "the trace holds no image: patches only")
    return maps[0].get_figure(root=True)


def _look(alpha: float, *, contour: bool, smoothing: float) -> OverlayStyle:
    if not (0 <= alpha <= 1 and 0 <= smoothing < float("inf")):
        got, expected = f"alpha={alpha}, smoothing={smoothing}", "alpha from 0 to 1, smoothing from 0"
        raise ModelInputError(message(got, expected, "choose them there"))
    return OverlayStyle(alpha=alpha, contour=contour, smoothing=smoothing)


def _attention(
    sights: OverlayPanels, where: "ImageLayout", place: "Callable[[], tuple[list[Box], list[int]]]", look: OverlayStyle
) -> Panels:
    boxes, keys = place()
    shares = [sight.share[keys] for sight in sights.each]
    titles = [(sight.name, _percent(share)) for sight, share in zip(sights.each, shares, strict=True)]
    label = "attention on a patch (share of 1)" + (f"; {sights.told}" if sights.told else "")
    return _panels(shares, boxes, where, look, (titles, label, sights.note))


def _panels(
    maps: "list[np.ndarray]",
    boxes: "list[Box]",
    where: "ImageLayout",
    look: OverlayStyle,
    told: tuple[list[tuple[str, str]], str, str],
) -> Panels:
    """The maps with their titles, the colour bar's label and the note; those of overlapping tokens added up."""
    size, unit, (titles, label, note) = where.size or (1, 1), largest_area(boxes), told
    if overlapping(boxes, size):
        of_patches = "on a patch" in label
        label = label.replace("on a patch", "per largest patch") if of_patches else f"{label}, per largest patch"
        added = [add_up(boxes, one, unit) for one in maps]
        boxes, maps = added[0][0], [values for _, values in added]
    label += f"; blurred over {look.smoothing:g} patches" if look.smoothing else ""
    surfaces = [surface_of(boxes, one, size, unit, look.smoothing) for one in maps]
    return Panels(surfaces=surfaces, titles=titles, label=label, note=note)


def _few_ticks(inches: float) -> "MaxNLocator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6 if inches > 4 else 3)


def _percent(share: np.ndarray) -> str:
    return f"{100 * share.sum():.0f} % on the image" if np.isfinite(share).all() else "? % on the image"


def _sum_of(values: np.ndarray, array: "xr.DataArray") -> str:
    if not np.isfinite(values).all():
        return "sum ?"
    return f"sum {values.sum():+.2g} {array.attrs.get('units', '')}".rstrip()
