"""Bytes of an image file to pixels: formats from an explicit list, a limit on pixels before they are decoded."""

import io
import struct
import warnings
import zlib
from typing import IO, Any, Final, cast

from PIL import Image

from lvlmscope.errors import ImageInputError, first_line, message

__all__ = ["DECODING_ERRORS", "FORMATS", "MAX_PIXELS", "check_size", "decode", "looks_encoded", "name_format"]

# No format that runs another program (EPS starts Ghostscript) or that points to other files
FORMATS: Final = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MAX_PIXELS: Final = 178_956_970  # half a gigabyte as RGB; PIL's own limit
DECODING_ERRORS: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
    AssertionError,  # PIL's, of a closed file
)
_EXPECTED: Final = f"an image of the formats {', '.join(FORMATS)}"
_PREFIX: Final = 32  # bytes that tell a format
# Formats that people meet and PIL does not read; "ftyp" stands after four bytes of length
_OTHERS: Final = {
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "SVG or other XML",
    b"8BPS": "PSD",
    b"\x1aE\xdf\xa3": "video",
}
_IN_BOXES: Final = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"isom": "video", b"mp42": "video"}


def decode(file: io.BufferedIOBase, name: str) -> Image.Image:
    """The image in a file, decoded; of an animation the first frame.

    Args:
        file: Open for reading, at the image's first byte.
        name: What it is called in messages.

    Returns:
        The image in its own mode, with what the file says of its orientation.

    Raises:
        ImageInputError: Another format than ``FORMATS``, too few or too many pixels, or a damaged file.
    """
    start = file.read(_PREFIX)
    file.seek(-len(start), io.SEEK_CUR)
    found = name_format(start)
    if found not in FORMATS:
        got = f"{found or 'bytes of no known image format'} in {name}" if start else f"nothing in {name}"
        raise ImageInputError(message(got, _EXPECTED, "convert it to PNG or JPEG"))
    try:
        with warnings.catch_warnings():
            # PIL warns of large and of slightly damaged files; both are read or refused
            warnings.simplefilter("ignore")
            with Image.open(cast(IO[bytes], file), formats=_installed()) as opened:
                check_size(opened)
                opened.load()
                decoded = opened.copy()
                decoded.format = opened.format  # a copy has none
                return decoded
    except ImageInputError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageInputError(message(f"{name}: {first_line(error)}", _sizes(), "resize it first")) from error
    except DECODING_ERRORS as error:
        got = f"{found} in {name} that cannot be decoded ({first_line(error)})"
        raise ImageInputError(message(got, "a complete, undamaged image file", "check the file")) from error


def _installed() -> list[str]:
    """The formats of the list that this build of PIL reads."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def name_format(start: bytes) -> str:
    """The format of a file by its first bytes; no file is decoded for it.

    Args:
        start: At least 16 bytes, where the file has them.

    Returns:
        PIL's name for it, or a common name; empty when it is not known.

    Examples:
        >>> name_format(b"%!PS-Adobe-3.0 EPSF-3.0"), name_format(b"GIF89a"), name_format(b"words")
        ('EPS', 'GIF', '')
    """
    Image.init()
    for name in dict.fromkeys((*FORMATS, *Image.OPEN)):
        accept: Any = Image.OPEN[name][1] if name in Image.OPEN else None
        try:
            if accept is not None and accept(start) is True:
                return "JPEG" if name == "MPO" else name
        except (LookupError, struct.error):  # fewer bytes than its signature has
            continue
    if start[4:8] == b"ftyp" and start[8:12] in _IN_BOXES:
        return _IN_BOXES[start[8:12]]
    return next((name for sign, name in _OTHERS.items() if start.lstrip().startswith(sign)), "")


def looks_encoded(start: bytes) -> bool:
    """Whether bytes begin as an image file of the accepted formats does.

    Args:
        start: The first bytes.

    Returns:
        Whether they do.
    """
    return name_format(start) in FORMATS


def check_size(image: Image.Image) -> None:
    """Refuse an image less than 2 pixels wide or high, or of more pixels than ``MAX_PIXELS``.

    Args:
        image: The image; a file's need not be decoded.

    Raises:
        ImageInputError: It is too small or too large.
    """
    if min(image.size) < 2 or image.width * image.height > MAX_PIXELS:
        got = f"{image.width} x {image.height} pixels"
        raise ImageInputError(message(got, _sizes(), "crop or resize it first"))


def _sizes() -> str:
    return f"at least 2 x 2, and {MAX_PIXELS:,} in all"
