"""The image that an image layout's boxes lie on, and whether another image has its shape."""

from typing import TYPE_CHECKING, Final

from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["image_of_layout", "same_aspect"]

_TOLERANCE: Final = 0.01  # relative difference of two aspect ratios: sizes are rounded to pixels


def image_of_layout(trace: Trace, image_index: int) -> "Image | None":
    """The trace's image whose pixels the boxes of a layout refer to.

    Args:
        image_index: Which image of the prompt, counted from 0.

    Returns:
        The image; None for a video or prepared inputs, whose boxes are in pixels of the model's input, and for a trace
        without images.
    """
    layouts = trace.layout.images
    if layouts[image_index].pixels != "image":
        return None
    number = sum(layout.pixels == "image" for layout in layouts[:image_index])
    return trace.images[number] if number < len(trace.images) else None


def same_aspect(image: "Image", size: tuple[int, int] | tuple[float, float]) -> bool:
    """Whether an image has the aspect ratio of a size, up to 1 %.

    Args:
        size: Width and height.

    Examples:
        >>> from PIL import Image
        >>> same_aspect(Image.new("L", (112, 56)), (56.0, 28.0)), same_aspect(Image.new("L", (112, 56)), (56.0, 56.0))
        (True, False)
    """
    return abs((image.width / image.height) / (size[0] / size[1]) - 1) <= _TOLERANCE
