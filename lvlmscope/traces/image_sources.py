"""Where the bytes of an image come from: a file, a URL, base64, bytes, or a part of a chat message."""

import base64
import binascii
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from lvlmscope.errors import ImageInputError, first_line, message
from lvlmscope.traces.encoded_images import looks_encoded
from lvlmscope.traces.formatting import shortened

__all__ = [
    "MAX_BYTES",
    "SOURCES",
    "TIMEOUT",
    "is_file",
    "kind_of_text",
    "open_source",
    "part_of_message",
    "source_name",
]

MAX_BYTES: Final = 64 * 2**20  # of a download, of base64 and of a file object
TIMEOUT: Final = 20.0  # seconds for a whole download
SOURCES: Final = (
    "a PIL image, a path, an http(s) URL, base64, bytes, an open file, an array [height, width, 3], "
    "or a chat message's {'type': 'image', ...}"
)
_KEYS: Final = ("image", "url", "path", "base64")  # of transformers' chat content
_SHOWN: Final = 100  # characters of an input that a message quotes
_CHUNK: Final = 2**16


def part_of_message(part: Mapping[Any, Any]) -> Any:
    """The image of a part of a chat message.

    Args:
        part: ``{"type": "image", "image" | "url" | "path" | "base64": ...}``, or OpenAI's ``{"type": "image_url"}``.

    Returns:
        What the key holds.

    Raises:
        ImageInputError: Another type, none of the keys or several.
    """
    kind, nested = part.get("type", "image"), part.get("image_url")
    if kind == "image_url" and nested is not None:
        return nested.get("url") if isinstance(nested, Mapping) else nested
    found = [key for key in _KEYS if part.get(key) is not None]
    if kind != "image" or len(found) != 1:
        got = shortened(f"a dict of type {kind!r} with the keys {sorted(map(str, part))}", _SHOWN)
        raise ImageInputError(message(got, f"{{'type': 'image'}} with one of {', '.join(_KEYS)}", "name the image"))
    return part[found[0]]


def kind_of_text(text: str) -> str:
    """Which source a text names.

    Args:
        text: Any text.

    Returns:
        "url", "data", "base64" or "path".

    Examples:
        >>> kind_of_text("https://x.org/a.png"), kind_of_text("data:image/png;base64,iVBO"), kind_of_text("a.png")
        ('url', 'data', 'path')
    """
    start = text[:8].lower()
    if start.startswith(("http://", "https://")):
        return "url"
    if start.startswith("data:"):
        return "data"
    return "base64" if not is_file(text) and _is_base64(text) else "path"


def is_file(text: str) -> bool:
    """Whether a text is the path of a file; one too long for a path, or with a null character, is not.

    Args:
        text: Any text.

    Returns:
        Whether it is.
    """
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _is_base64(text: str) -> bool:
    """Whether the first characters are base64 of the beginning of an image file."""
    start = "".join(text[:120].split())
    try:
        return looks_encoded(base64.b64decode(start[: len(start) // 4 * 4], validate=True))
    except (binascii.Error, ValueError):
        return False


def source_name(source: Any) -> str:
    """The file's name of an image, without its folder; empty where there is none.

    Args:
        source: One image as ``read_images`` takes it.

    Returns:
        The name.
    """
    if isinstance(source, Mapping):
        return source_name(next((source[key] for key in _KEYS if source.get(key) is not None), None))
    if not isinstance(source, str | os.PathLike):
        source = getattr(source, "filename", None) or getattr(source, "name", None)
    if isinstance(source, str) and (kind := kind_of_text(source)) != "path":
        return PurePosixPath(unquote(urlsplit(source).path)).name if kind == "url" else ""
    named = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    return Path(named).name if isinstance(named, str) else Path(os.fsdecode(named)).name


def open_source(source: Any) -> tuple[io.BufferedIOBase, str] | None:
    """The encoded bytes of an image.

    Args:
        source: A path, an http(s) URL, base64 with or without `data:`, bytes, or a file open for reading bytes.

    Returns:
        A file to read and close, and its name for messages; None for what is none of these.

    Raises:
        ImageInputError: It cannot be read, is too large, or takes too long.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(bytes(source)), "the bytes"
    if isinstance(source, str):
        kind = kind_of_text(source)
        if kind == "url":
            return _download(source), shortened(source, _SHOWN)
        if kind != "path":
            return _from_base64(source), "the base64 text"
    if isinstance(source, str | os.PathLike):
        return _from_path(source)
    if hasattr(source, "read"):
        return _from_file(source), "the open file"
    return None


def _from_path(source: Any) -> tuple[io.BufferedIOBase, str]:
    name = shortened(os.fsdecode(source), _SHOWN)
    try:
        return Path(os.fsdecode(source)).open("rb"), name
    except (OSError, ValueError) as error:
        got = f"{getattr(error, 'strerror', None) or first_line(error)}: {name}"
        raise ImageInputError(message(got, SOURCES, "check the path")) from error


def _from_file(source: Any) -> io.BufferedIOBase:
    try:
        found = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # closed, or not open for reading
        raise ImageInputError(
            message(first_line(error), "a file open for reading bytes", "open it with 'rb'")
        ) from error
    if not isinstance(found, bytes | bytearray):
        got = f"a file that gives {type(found).__name__}"
        raise ImageInputError(message(got, "a file open for reading bytes", "open it with 'rb'"))
    _limit(len(found))
    return io.BytesIO(found)


def _from_base64(text: str) -> io.BufferedIOBase:
    start, comma, rest = text.partition(",") if text[:5].lower() == "data:" else ("", ",", text)
    if start and not (comma and start.lower().startswith("data:image/") and start.lower().endswith(";base64")):
        got = shortened(f"the data URI {start!r}", _SHOWN)
        raise ImageInputError(message(got, "data:image/<format>;base64,<text>", "encode the image with base64"))
    _limit(len(rest) * 3 // 4)
    try:
        return io.BytesIO(base64.b64decode("".join(rest.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        got = f"text that is not base64 ({first_line(error)})"
        raise ImageInputError(message(got, SOURCES, "check that it is complete")) from error


def _download(url: str) -> io.BufferedIOBase:
    """The bytes at a URL; redirections are followed to http and https only."""
    opener = OpenerDirector()
    handlers = (
        ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPRedirectHandler,
        HTTPErrorProcessor,
        HTTPDefaultErrorHandler,
    )
    for handler in handlers:
        opener.add_handler(handler())
    found, end = bytearray(), time.monotonic() + TIMEOUT
    try:
        with opener.open(Request(url, headers={"User-Agent": "lvlmscope"}), timeout=TIMEOUT) as answer:  # noqa: S310 - http(s) only
            while chunk := answer.read1(_CHUNK):
                found += chunk
                _limit(len(found))
                if time.monotonic() > end:
                    raise TimeoutError(f"more than {TIMEOUT:g} seconds")
    except (HTTPError, URLError, OSError, ValueError) as error:
        if isinstance(error, ImageInputError):
            raise
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        reason = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
        got = f"{first_line(reason)} from {shortened(url, _SHOWN)}"
        raise ImageInputError(message(got, "the URL of an image", "check the URL, or download the image")) from error
    return io.BytesIO(bytes(found))


def _limit(size: int) -> None:
    if size > MAX_BYTES:
        raise ImageInputError(
            message(f"{size:,} bytes or more", f"{MAX_BYTES:,} bytes at most", "pass a smaller image")
        )
