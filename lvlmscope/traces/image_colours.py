"""Any image or array of pixels to RGB, as an image viewer shows it; refused where the value of white is unknown."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageOps

from lvlmscope.errors import ImageInputError, message

__all__ = ["array_to_rgb", "flat_on_white", "tensor_to_array", "to_rgb"]

_SHAPES: Final = "[height, width], [height, width, 1, 3 or 4], or the same with the colours first"
_TO_8_BITS: Final = 257  # 65,535 / 255


def to_rgb(image: Image.Image) -> Image.Image:
    """An image upright, with 8 bits a colour, transparency laid on white.

    Args:
        image: A decoded image of any mode.

    Returns:
        A new RGB image without metadata.

    Raises:
        ImageInputError: Whole numbers of 32 bits, or floats, whose value of white is unknown.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16") or (upright.mode == "I" and image.format in {"PNG", "PPM"}):
        values = np.asarray(upright).astype(np.float64) / _TO_8_BITS
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if upright.mode in {"I", "F"}:
        return array_to_rgb(np.asarray(upright))
    return _plain(flat_on_white(upright))


def flat_on_white(image: Image.Image) -> Image.Image:
    """An image without transparency; what shows through is white.

    Args:
        image: Any image of 8 bits a colour.

    Returns:
        RGB.
    """
    if image.mode in {"RGBa", "La"}:
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode not in {"RGBA", "LA", "PA"} and "transparency" not in image.info:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    flat = Image.new("RGBA", layered.size, "white")
    flat.alpha_composite(layered)
    return flat.convert("RGB")


def _plain(image: Image.Image) -> Image.Image:
    """A copy without the metadata of the file: an orientation that has been followed would be followed again."""
    copied = Image.new("RGB", image.size)
    copied.paste(image)
    return copied


def tensor_to_array(tensor: torch.Tensor) -> Any:
    """A tensor as an array, from any device, with or without a gradient.

    Args:
        tensor: Any dense tensor; bfloat16 becomes float32.

    Returns:
        The array.

    Raises:
        ImageInputError: A tensor without values, or sparse or quantised.
    """
    if tensor.device.type == "meta" or tensor.layout != torch.strided or tensor.is_quantized:
        got = f"a tensor on {tensor.device.type}, {tensor.layout}, {tensor.dtype}"
        raise ImageInputError(message(got, "a dense tensor with values", "convert it first"))
    found = tensor.detach().cpu()
    return (found.float() if found.dtype == torch.bfloat16 else found.resolve_conj().resolve_neg()).numpy()


def array_to_rgb(array: Any) -> Image.Image:
    """An array as an RGB image.

    Args:
        array: ``[height, width]``, or with 1, 3 or 4 colours as the last or the first axis. uint8, whole numbers from 0
            to 255, uint16 up to 65,535, bool (False is black), or floats in [0, 1].

    Returns:
        The image; a fourth colour is opacity, over white.

    Raises:
        ImageInputError: Another shape, or numbers whose value of white is unknown.
    """
    pixels = _colours_last(array)
    for kind, convert in _CONVERTERS.items():
        if np.issubdtype(pixels.dtype, kind):
            return flat_on_white(Image.fromarray(np.ascontiguousarray(convert(pixels))))
    raise _refusal(f"an array of {array.dtype}", "convert it to numbers first")


def _colours_last(array: Any) -> Any:
    """The array with its colours last, without an axis of length 1."""
    counts = (1, 3, 4)
    if 0 in array.shape or array.ndim not in (2, 3):
        raise _bad_shape(array)
    if array.ndim == 3:
        if array.shape[2] not in counts and array.shape[0] in counts:
            array = np.moveaxis(array, 0, -1)
        if array.shape[2] not in counts:
            raise _bad_shape(array)
        array = array[..., 0] if array.shape[2] == 1 else array
    return array


def _bad_shape(array: Any) -> ImageInputError:
    return ImageInputError(message(f"an array of shape {list(array.shape)}", _SHAPES, "pass one image at a time"))


def _from_bool(pixels: Any) -> Any:
    return pixels.astype(np.uint8) * 255


def _from_whole(pixels: Any) -> Any:
    low, high = int(pixels.min()), int(pixels.max())
    if low >= 0 and high <= 255 and pixels.dtype != np.uint16:
        return pixels.astype(np.uint8)
    if pixels.dtype == np.uint16 and (high > 4095 or high == 0):
        return (pixels / _TO_8_BITS).round().astype(np.uint8)
    if pixels.dtype == np.uint16:
        raise _refusal(
            f"uint16 numbers up to {high}, of 8, 10, 12 or 16 bits", "divide by the largest number that is possible"
        )
    raise _refusal(f"{pixels.dtype} numbers from {low} to {high}", "rescale the array to [0, 1]")


def _from_floats(pixels: Any) -> Any:
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise _refusal("floats outside [0, 1]", "rescale the array")
    return (pixels.astype(np.float64) * 255).round().astype(np.uint8)


_CONVERTERS: Final[dict[Any, Callable[[Any], Any]]] = {
    np.bool_: _from_bool,
    np.integer: _from_whole,
    np.floating: _from_floats,
}


def _refusal(got: str, fix: str) -> ImageInputError:
    expected = "floats in [0, 1], whole numbers from 0 to 255, uint16 up to 65,535, or bool"
    return ImageInputError(message(got, expected, fix))
