"""Which images a trace is of: their names, sizes and digests, and whether two traces share them."""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from lvlmscope.errors import ImageInputError, first_line, message, task
from lvlmscope.traces.encoded_images import DECODING_ERRORS, check_size, decode
from lvlmscope.traces.image_colours import array_to_rgb, flat_on_white, tensor_to_array, to_rgb
from lvlmscope.traces.image_sources import SOURCES, open_source, part_of_message, source_name

__all__ = ["data_uri", "describe_images", "names_of", "read_images"]


def names_of(image: Any) -> tuple[str, ...]:
    """File names of what ``read_images`` takes, empty texts where there is none.

    Args:
        image: What ``read_images`` takes.

    Returns:
        One name for each image, without its folder.

    >>> names_of(["cats/a.png", "https://x.org/b.png?size=2", Image.new("L", (2, 2))])
    ('a.png', 'b.png', '')
    """
    if isinstance(image, list | tuple):
        return tuple(name for one in image for name in names_of(one))
    return (source_name(image),)


def describe_images(images: Sequence[Image.Image], names: Sequence[str]) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of the pixels of each image.

    Args:
        images: RGB images.
        names: Their file names.

    Returns:
        JSON values.
    """
    return [
        {"name": name, "size": list(image.size), "sha256": hashlib.sha256(image.tobytes()).hexdigest()}
        for image, name in zip(images, names, strict=True)
    ]


_CRISP: Final = 256  # pixels a side up to which nothing is lost to JPEG


def data_uri(image: Image.Image, *, longest: int = 720) -> str:
    """An image as a data URI: PNG when it is small, else JPEG.

    Args:
        image: Any image; transparency is laid on white.
        longest: Pixels of the longer side at most.

    Returns:
        Text starting with `data:image/`.

    >>> from PIL import Image
    >>> data_uri(Image.new("RGB", (8, 8)))[:22]
    'data:image/png;base64,'
    """
    small = flat_on_white(image)
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    kind = "png" if max(small.size) <= _CRISP else "jpeg"
    small.save(buffer, format=kind.upper(), **({"quality": 82} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@task("read an image")
def read_images(image: Any) -> tuple[Image.Image, ...]:
    """Images as RGB, upright, with transparency laid on white.

    Args:
        image: One of these, or a list of them: a PIL image; a path; an http(s) URL (20 seconds and 64 MiB at most);
            base64, with or without ``data:image/...;base64,``; bytes, or a file open for reading them; an array or a
            tensor ``[height, width]`` or with 1, 3 or 4 colours as its last or first axis (uint8, floats in [0, 1],
            uint16, bool); a part of a chat message, ``{"type": "image", "url": ...}``.

    Returns:
        PIL images without metadata.

    Raises:
        ImageInputError: None given; another format than ``encoded_images.FORMATS``; a damaged or closed file; fewer
            than 2 x 2 pixels or more than ``encoded_images.MAX_PIXELS``; numbers whose value of white is unknown.

    Examples:
        >>> read_images(np.array([[True, False], [False, True]]))[0].getpixel((0, 0))
        (255, 255, 255)
    """
    if image is None or (isinstance(image, Sequence) and not isinstance(image, str) and not image):
        raise ImageInputError(message("no image", SOURCES, "pass an image as the second argument"))
    if isinstance(image, list | tuple):
        return tuple(found for one in image for found in read_images(one))
    return (_read_one(image),)


def _read_one(image: Any) -> Image.Image:
    if isinstance(image, Mapping):
        return read_images(part_of_message(image))[0]
    if isinstance(image, Image.Image):
        return to_rgb(_loaded(image))
    if isinstance(image, torch.Tensor):
        image = tensor_to_array(image)
    elif (source := open_source(image)) is not None:
        file, name = source
        with file:
            return to_rgb(decode(file, name))
    elif hasattr(image, "__array__"):
        image = np.asarray(image)
    else:
        raise ImageInputError(message(type(image).__name__, SOURCES, "convert it to a PIL image"))
    found = array_to_rgb(image)
    check_size(found)
    return found


def _loaded(image: Image.Image) -> Image.Image:
    """A PIL image whose pixels are there; one that PIL has opened and not yet read is read here."""
    check_size(image)
    if image.format == "EPS":
        expected = "an image of pixels: PIL runs Ghostscript to draw this one"
        raise ImageInputError(message("an EPS image", expected, "convert it to PNG or JPEG"))
    try:
        image.load()
    except DECODING_ERRORS as error:
        got = f"a PIL image that cannot be read ({first_line(error)})"
        raise ImageInputError(message(got, "an image whose file is complete and open", "check the file")) from error
    return image
