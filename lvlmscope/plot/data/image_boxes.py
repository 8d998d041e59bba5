"""Which boxes of which image an overlay draws, and the image behind them."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvlmscope.errors import GeometryError, ModelInputError, message, task
from lvlmscope.traces.token_layout import Box, ImageLayout
from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["background_of", "boxes_of", "largest_area", "layout_of"]

_SAME_SHAPE: Final = 0.01  # relative difference of two aspect ratios


def layout_of(trace: Trace, image_index: int) -> ImageLayout:
    """One image of the prompt.

    Raises:
        ModelInputError: There is no such image.
    """
    count = len(trace.layout.images)
    if not 0 <= image_index < count:
        got, expected = f"image {image_index}", f"0 to {count - 1}"
        raise ModelInputError(message(got, expected, "choose another", task="draw attention over the image"))
    return trace.layout.images[image_index]


@task("draw attention over the image")
def boxes_of(where: ImageLayout, tile: int | None, frame: int) -> tuple[list[Box], list[int]]:
    """Pixel boxes and keys of the tokens to draw.

    Raises:
        GeometryError: The geometry is not known.
        ModelInputError: No such tile or frame.
    """
    every = where.placed()
    if not every or where.size is None:
        got, fix = (
            "image tokens without a place in the image",
            "look at the key axis with lv.plot.heatmap instead",
        )
        raise GeometryError(message(got, "tokens that stand for patches", fix))
    chosen = [cell for cell in every if cell.frame == frame and tile in (None, cell.tile)]
    if not chosen:
        tiles, frames = (sorted({getattr(cell, name) for cell in every}) for name in ("tile", "frame"))
        got, expected = f"tile {tile} of frame {frame}", f"tiles {tiles} of frames {frames}"
        raise ModelInputError(message(got, expected, "choose among these"))
    return [cell.box for cell in chosen if cell.box is not None], [cell.key for cell in chosen]


def largest_area(boxes: list[Box]) -> float:
    """Area of the largest box; where there is an overview, that of its patches."""
    return max((right - left) * (bottom - top) for left, top, right, bottom in boxes)


def background_of(
    trace: Trace, where: ImageLayout, image: "Image | str | Path | None", image_index: int
) -> "Image | None":
    """The image in the size that the boxes refer to; None when there is none.

    Raises:
        GeometryError: Its shape is another one.
        ImageInputError: A file that is not there, or is no image.
    """
    # Only layouts in an image's pixels have one in the trace: not a video, nor prepared inputs
    number = sum(layout.pixels == "image" for layout in trace.layout.images[:image_index])
    own = trace.images[number] if where.pixels == "image" and number < len(trace.images) else None
    given = _opened(image) if isinstance(image, str | Path) else image
    chosen = given if given is not None else own
    if chosen is None or where.size is None:
        return None
    ratio = (chosen.width / chosen.height) / (where.size[0] / where.size[1])
    if abs(ratio - 1) > _SAME_SHAPE:
        got = f"an image of {chosen.width} x {chosen.height} pixels"
        expected = f"the shape that was traced, {where.size[0]} x {where.size[1]}"
        raise GeometryError(message(got, expected, "give the traced image", task="draw attention over the image"))
    return chosen.convert("RGB") if chosen.size == where.size else chosen.convert("RGB").resize(where.size)


def _opened(path: str | Path) -> "Image":
    from lvlmscope.traces.images import read_images

    return read_images(path)[0]
