"""Which images a trace is of: their names, sizes and digests, and whether two traces share them."""

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from lvlmscope.errors import ImageInputError, message, task

if TYPE_CHECKING:
    pass

__all__ = ["data_uri", "describe_images", "names_of", "read_images"]


def names_of(image: Any) -> tuple[str, ...]:
    """File names of what ``read_images`` takes, empty texts where there is none.

    Args:
        image: An image, a path, or a list of those.

    Returns:
        One name for each image, without its folder.

    >>> names_of(["cats/a.png", Image.new("L", (2, 2))])
    ('a.png', '')
    """
    if isinstance(image, list | tuple):
        return tuple(name for one in image for name in names_of(one))
    source = image if isinstance(image, str | Path) else getattr(image, "filename", "")
    return (Path(source).name if isinstance(source, str | Path) else "",)


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
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        layered = image.convert("RGBA")
        flat = Image.new("RGBA", layered.size, "white")
        flat.alpha_composite(layered)
        image = flat
    small = image.convert("RGB")
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    kind = "png" if max(small.size) <= _CRISP else "jpeg"
    small.save(buffer, format=kind.upper(), **({"quality": 82} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@task("read an image")
def read_images(image: Any) -> tuple[Image.Image, ...]:
    """Images as RGB.

    Args:
        image: A PIL image, a path, an array ``[height, width]`` or ``[height, width, 3 or 4]`` (uint8, or floats in
            [0, 1]), or a list of those.

    Returns:
        PIL images.

    Raises:
        ImageInputError: None given, a file that is no image, an array of another shape, or an image of one pixel or
            of more than PIL opens (``2 * PIL.Image.MAX_IMAGE_PIXELS``).
    """
    expected = "a PIL image, a path, or an array [height, width, 3]"
    if image is None or (isinstance(image, Sequence) and not isinstance(image, str) and not image):
        raise ImageInputError(message("no image", expected, "pass an image as the second argument"))
    if isinstance(image, list | tuple):
        return tuple(found for one in image for found in read_images(one))
    if isinstance(image, Image.Image):
        _check_size(image)
        return (image.convert("RGB"),)
    if isinstance(image, str | Path):
        try:
            with Image.open(image) as opened:
                _check_size(opened)
                return (opened.convert("RGB"),)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ImageInputError(
                message(str(error), expected, "check the file", task=f"read the image {image}")
            ) from error
    if isinstance(image, np.ndarray | torch.Tensor):
        return read_images(_from_array(np.asarray(image)))
    raise ImageInputError(message(type(image).__name__, expected, "convert it to a PIL image"))


def _check_size(image: Image.Image) -> None:
    """Images that no processor can do justice to: a line one pixel wide, or past what PIL itself would open."""
    pixels = Image.MAX_IMAGE_PIXELS
    most = 2 * pixels if pixels else None
    if min(image.size) < 2 or (most and image.width * image.height > most):
        got = f"{image.width} x {image.height} pixels"
        expected = "at least 2 x 2" + (f", and {most:,} in all" if most else "")
        raise ImageInputError(message(got, expected, "crop or resize it first", task="read an image"))


def _from_array(array: Any) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        got, expected = f"an array of shape {list(array.shape)}", "[height, width] or [height, width, 3]"
        raise ImageInputError(message(got, expected, "move the colour axis last", task="read an image"))
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            expected = "floats in [0, 1], or uint8"
            raise ImageInputError(message("floats outside [0, 1]", expected, "rescale the array", task="read an image"))
        array = (array * 255).round()
    return Image.fromarray(
        array.squeeze(-1).astype(np.uint8) if array.shape[-1] == 1 else array.astype(np.uint8)
    ).convert("RGB")
