"""``overlay``: where in the picture the model looked while it wrote a word."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lvlmscope.errors import GeometryError, ModelInputError, message
from lvlmscope.layout import Box, ImageLayout
from lvlmscope.plot.panels import picture_panels
from lvlmscope.plot.quantities import Scale, patch_attention, require_image, scale_of
from lvlmscope.plot.regions import given_maps, label_of
from lvlmscope.plot.style import (
    OTHER,
    UNDEFINED,
    WIDTH,
    add_note,
    inscription,
    paper_style,
    wrapped,
)
from lvlmscope.plot.tiles import add_up, overlapping
from lvlmscope.plot.words import Word, find_word
from lvlmscope.record import Trace

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.ticker import MaxNLocator
    from PIL.Image import Image

__all__ = ["overlay"]

_OPACITY: Final = 0.62
_MOST_PANELS: Final = 12
_SAME_SHAPE: Final = 0.01  # relative difference of two aspect ratios


def overlay(
    trace: Trace,
    word: "str | int | Word | Sequence[str | int | Word]",
    *,
    image: "Image | None" = None,
    ax: "Axes | None" = None,
    values: "xr.DataArray | None" = None,
    layers: Sequence[int] | None = None,
    picture: int = 0,
    frame: int = 0,
    tile: int | None = None,
    width: float = WIDTH,
) -> Any:
    r"""A word's attention on each patch, over the picture; the mean over its tokens, the layers and all heads.

    Several words share one scale. A new figure shows the picture itself first. Where tokens lie over each other (tiles
    over an overview), the attention of all is added up, each token's spread evenly over its box, and given per area of
    the largest patch; the title's share is that of the tokens drawn.

    With `values=`, other maps are drawn in the same way: of `lvlmscope.occlusion` or `integrated_gradients`, whose sum
    stands in the title, or any array with dims word and key, or word, row and column.

    Args:
        trace: A trace whose layout knows the patches.
        word: A word of the answer, a step's number, or several of them.
        image: The picture; None takes the trace's own.
        ax: Axes to draw one word into.
        values: Maps of words to draw instead of attention; rows and columns divide the whole picture.
        layers: Decoder layer numbers to average over, negative ones count from the end; None for all.
        picture: Which picture of the prompt, counted from 0.
        frame: Which frame of a video, counted from 0.
        tile: Only this tile, 0 being the overview; None for all.
        width: Inches of a new figure.

    Returns:
        The matplotlib figure.

    Raises:
        ModelInputError: The answer has no such word, no such picture, tile, frame or layer, no image keys, or several
            words for one `ax`.
        GeometryError: Which pixels a token covers is not known (with the reason), or the picture is another one.
        ShapeError: `values` has other dims, or no map of the word.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> overlay(planted_trace(patch=7), "word1").axes[1].get_title(loc="left")
        '"word1"\n50 % on the image'
    """
    require_image(trace, "draw attention over the picture")
    asked = [word] if isinstance(word, str | int | Word) else list(word)
    if not 1 <= len(asked) <= _MOST_PANELS or (ax is not None and len(asked) > 1):
        possible = f"1 to {_MOST_PANELS} words, 1 with ax="
        raise ModelInputError(message("draw words over the picture", f"{len(asked)} words", possible, "choose fewer"))
    where = _layout_of(trace, picture)
    background = _background(trace, where, image, picture)
    words = [find_word(trace, each) for each in asked]
    if values is None:
        boxes, keys = _boxes(where, tile, frame)
        shares = [patch_attention(trace, each.steps, layers)[keys] for each in words]
    else:
        boxes, shares = given_maps(values, words, where.size, partial(_boxes, where, tile, frame))
    titles = [partial(_title, each, share, values) for each, share in zip(words, shares, strict=True)]
    label = "attention on a patch (share of 1)" if values is None else label_of(values)
    if overlapping(boxes, where.size or (0, 0)):
        label = label.replace("on a patch", "per largest patch") if values is None else f"{label}, per largest patch"
        added = [add_up(boxes, share, _largest(boxes)) for share in shares]
        boxes, shares = added[0][0], [values for _, values in added]
    with paper_style():
        made = None if ax is not None else picture_panels(len(words) + 1, where.size or (1, 1), width)
        maps = [ax] if ax is not None else (made.panels[1:] if made else [])
        for place, title, share in zip(maps, titles, shares, strict=True):
            cells = _draw(place, where, background, (boxes, share, scale_of(*shares)))
            place.set_title(title(made.panel_width if made else 3.0))
        bar_place = {"cax": made.bar} if made else {"ax": maps}
        bar = maps[0].figure.colorbar(cells, **bar_place, orientation="horizontal", ticks=_few_ticks())
        bar.set_label(label)
        if made:
            _show_picture(made.panels[0], where, background)
    return maps[0].get_figure(root=True)


def _few_ticks() -> "MaxNLocator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6)


def _title(word: Word, share: np.ndarray, values: "xr.DataArray | None", inches: float) -> str:
    known, text = bool(np.isfinite(share).all()), wrapped(f'"{inscription(word.text)}"', inches=inches, lines=1)
    if values is not None:
        return f"{text}\nsum {share.sum():+.2g} {values.attrs.get('units', '')}".rstrip() if known else f"{text}\nsum ?"
    percent = f"{100 * share.sum():.0f} %" if known else "? %"
    return f"{text}\n{percent} on the image"


def _layout_of(trace: Trace, picture: int) -> ImageLayout:
    count = len(trace.layout.images)
    if not 0 <= picture < count:
        received, possible = f"picture {picture}", f"0 to {count - 1}"
        raise ModelInputError(message("draw attention over the picture", received, possible, "choose another"))
    return trace.layout.images[picture]


def _boxes(where: ImageLayout, tile: int | None, frame: int) -> tuple[list[Box], list[int]]:
    """Pixel boxes and keys of the tokens to draw.

    Raises:
        GeometryError: The geometry is not known.
        ModelInputError: No such tile or frame.
    """
    asked, every = "draw attention over the picture", where.placed()
    if not every or where.size is None:
        received, todo = (
            "image tokens without a place in the picture",
            "look at the key axis with lv.plot.heatmap instead",
        )
        raise GeometryError(message(asked, received, "tokens that stand for patches", todo))
    chosen = [cell for cell in every if cell.frame == frame and tile in (None, cell.tile)]
    if not chosen:
        tiles, frames = (sorted({getattr(cell, name) for cell in every}) for name in ("tile", "frame"))
        received, possible = f"tile {tile} of frame {frame}", f"tiles {tiles} of frames {frames}"
        raise ModelInputError(message(asked, received, possible, "choose among these"))
    return [cell.box for cell in chosen if cell.box is not None], [cell.key for cell in chosen]


def _largest(boxes: list[Box]) -> float:
    """Area of the largest box; where there is an overview, that of its patches."""
    return max((right - left) * (bottom - top) for left, top, right, bottom in boxes)


def _background(trace: Trace, where: ImageLayout, image: "Image | None", picture: int) -> "Image | None":
    """The picture in the size that the boxes refer to; None when there is none.

    Raises:
        GeometryError: Its shape is another one.
    """
    # Only layouts in a picture's pixels have one in the trace: not a video, nor prepared inputs
    number = sum(layout.pixels == "image" for layout in trace.layout.images[:picture])
    own = trace.images[number] if where.pixels == "image" and number < len(trace.images) else None
    chosen = image if image is not None else own
    if chosen is None or where.size is None:
        return None
    ratio = (chosen.width / chosen.height) / (where.size[0] / where.size[1])
    if abs(ratio - 1) > _SAME_SHAPE:
        received = f"a picture of {chosen.width} x {chosen.height} pixels"
        possible = f"the shape that was traced, {where.size[0]} x {where.size[1]}"
        raise GeometryError(message("draw attention over the picture", received, possible, "give the traced picture"))
    return chosen.convert("RGB") if chosen.size == where.size else chosen.convert("RGB").resize(where.size)


def _draw(
    ax: "Axes", where: ImageLayout, background: "Image | None", values: tuple[list[Box], np.ndarray, Scale]
) -> "PolyCollection":
    import matplotlib as mpl
    from matplotlib.collections import PolyCollection

    boxes, share, scale = values
    _prepare(ax, where)
    if background is None:
        add_note(ax, "the trace holds no picture: patches only")
    else:
        ax.imshow(background.convert("L"), cmap="gray", extent=_extent(where), vmin=-60, vmax=255)
    corners = [[(left, top), (right, top), (right, bottom), (left, bottom)] for left, top, right, bottom in boxes]
    opacity = 1.0 if background is None else _OPACITY
    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    cells = PolyCollection(corners, cmap=colours, alpha=opacity, linewidths=0, antialiaseds=False)
    cells.set_array(np.ma.masked_invalid(share))
    cells.set_clim(scale.low, scale.high)
    ax.add_collection(cells)
    if not np.isfinite(share).all():
        add_note(ax, f"grey: not defined ({int((~np.isfinite(share)).sum())} of {share.size} patches)")
    return cells


def _show_picture(ax: "Axes", where: ImageLayout, background: "Image | None") -> None:
    _prepare(ax, where)
    ax.set_title("picture")
    if background is None:
        add_note(ax, "no picture\nin the trace", centred=True)
    else:
        ax.imshow(background, extent=_extent(where))


def _extent(where: ImageLayout) -> tuple[float, float, float, float]:
    assert where.size is not None  # `_boxes` refused it
    return (0.0, float(where.size[0]), float(where.size[1]), 0.0)


def _prepare(ax: "Axes", where: ImageLayout) -> None:
    left, right, bottom, top = _extent(where)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color(OTHER)
