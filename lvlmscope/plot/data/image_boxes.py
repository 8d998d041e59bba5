"""Which boxes of which image an overlay draws, and the image behind them."""

from pathlib import Path
from typing import TYPE_CHECKING

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import GeometryError, ModelInputError, message, task
from lvlmscope.traces.layout_images import image_of_layout, same_aspect
from lvlmscope.traces.token_layout import Box, ImageLayout
from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["background_of", "boxes_of", "largest_area", "layout_of", "names_of_part"]


@task("draw attention over the image")
def layout_of(trace: Trace, image_index: int) -> ImageLayout:
    """One image of the prompt.

    Raises:
        ModelInputError: There is no such image.
    """
    count = len(trace.layout.images)
    if not 0 <= image_index < count:
        raise ModelInputError(message(f"image {image_index}", f"0 to {count - 1}", "choose another"))
    return trace.layout.images[image_index]


@task("draw attention over the image")
def boxes_of(layout: ImageLayout, tile: int | None, frame: int) -> tuple[list[Box], list[int]]:
    """Pixel boxes and keys of the tokens to draw.

    Raises:
        GeometryError: The geometry is not known.
        ModelInputError: No such tile or frame.
    """
    placed = layout.placed()
    if not placed or layout.size is None:
        got, fix = "image tokens without a place in the image", "look at the key axis with lv.plot.heatmap instead"
        raise GeometryError(message(got, "tokens that stand for patches", fix))
    chosen = [cell for cell in placed if cell.frame == frame and tile in (None, cell.tile)]
    if not chosen:
        tiles, frames = (sorted({getattr(cell, name) for cell in placed}) for name in ("tile", "frame"))
        got, expected = f"tile {tile} of frame {frame}", f"tiles {tiles} of frames {frames}"
        raise ModelInputError(message(got, expected, "choose among these"))
    return [cell.box for cell in chosen if cell.box is not None], [cell.key for cell in chosen]


def names_of_part(trace: Trace, image_index: int, tile: int | None, frame: int) -> tuple[str, str]:
    """What the tokens drawn are a part of the prompt's image tokens of: a name for the part and one for the whole.

    Args:
        image_index: Which image of the prompt.
        tile: The tile drawn; None for all.
        frame: The frame drawn.

    Returns:
        Two names; the first is empty where every image token is drawn.
    """
    images = trace.layout.images
    frames = {cell.frame for cell in images[image_index].cells}
    whole = "all images" if len(images) > 1 else "the video" if len(frames) > 1 else "the image"
    parts = [f"tile {tile}"] if tile is not None else []
    parts += [f"frame {frame}"] if len(frames) > 1 else []
    parts += [f"image {image_index}"] if len(images) > 1 else []
    if parts:
        return " of ".join(parts), whole
    placed = sum(cell.box is not None for cell in images[image_index].cells)
    return ("its patches" if placed < int(trace.image_keys.sum()) else ""), whole


def largest_area(boxes: list[Box]) -> float:
    """Area of the largest box; where there is an overview, that of its patches."""
    return max((right - left) * (bottom - top) for left, top, right, bottom in boxes)


def background_of(trace: Trace, image_index: int, image: "Image | str | Path | None") -> "Image | None":
    """The image in the size that the boxes refer to; None when there is none.

    Args:
        image_index: Which image of the prompt, counted from 0.
        image: An image or its file to take instead of the trace's own.

    Raises:
        GeometryError: Its shape is another one.
        ImageInputError: A file that is not there, or is no image.
        ModelInputError: Neither an image nor a path.
    """
    size = trace.layout.images[image_index].size
    from PIL.Image import Image as Opened

    chosen = _opened(image) if isinstance(image, str | Path) else image
    if chosen is not None:
        require_kind("image", chosen, Opened, "a PIL image, or the path of a file")
    chosen = image_of_layout(trace, image_index) if chosen is None else chosen
    if chosen is None or size is None:
        return None
    if not same_aspect(chosen, size):
        got = f"an image of {chosen.width} x {chosen.height} pixels"
        expected = f"the shape that was traced, {size[0]} x {size[1]}"
        raise GeometryError(message(got, expected, "give the traced image", task="draw attention over the image"))
    return chosen.convert("RGB") if chosen.size == size else chosen.convert("RGB").resize(size)


def _opened(path: str | Path) -> "Image":
    from lvlmscope.traces.image_identity import read_images

    return read_images(path)[0]
