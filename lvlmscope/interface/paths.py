"""A path as a caller gives it."""

import os
from pathlib import Path
from typing import Any

from lvlmscope.errors import LvlmscopeError, message

__all__ = ["path_of"]


def path_of(given: Any, error: type[LvlmscopeError]) -> Path:
    """A text or a path object as `Path`.

    Args:
        given: What should be a path.
        error: Class of the error raised.

    Returns:
        The path; nothing is read.

    Raises:
        LvlmscopeError: Something else, of the class given.

    Examples:
        >>> from lvlmscope.errors import TraceFileError
        >>> path_of("a/b", TraceFileError).name
        'b'
    """
    if isinstance(given, str | os.PathLike) and isinstance(text := os.fspath(given), str):
        return Path(text)
    got = f"{type(given).__name__} {given!r}"[:80]
    raise error(message(got, "a path, as text or pathlib.Path", "pass the path of a file or folder"))
