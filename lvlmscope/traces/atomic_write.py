"""Files written whole or not at all: under a temporary name in the same folder, then renamed; folders without them."""

import errno
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["made_folder", "whole_file"]

_LEFT_OVER: Final = 3600  # seconds


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that takes the place of `path` when the block ends without an error.

    Args:
        path: File to write; an existing one is replaced and keeps its permissions, a symbolic link its target.

    Yields:
        The temporary file, empty; it is gone after the block in any case. One that a killed process left behind is
        removed an hour later, with the next write of the same file.

    Raises:
        OSError: The folder does not exist or cannot be written to, or `path` is a folder, a device, a pipe or a socket.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with whole_file(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('whole', 1)
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    mode = (
        target.stat().st_mode if target.exists() else None
    )  # a name that is too long is refused before anything is made
    if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "a device, pipe or socket is no file to be replaced", str(target))
    mark = hashlib.sha256(target.name.encode()).hexdigest()[:12]
    _remove_leftovers(target.parent, mark)
    temporary = target.parent / f".{mark}-{uuid.uuid4().hex}.part"  # shorter than most names: no limit of length is met
    temporary.touch(exist_ok=False)
    own = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(own if mode is None else mode)  # safetensors writes for the owner alone
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def made_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder, made with its parents where it does not exist; those that are empty after the block are removed again.

    Args:
        path: The folder; one that was there before stays in any case.

    Yields:
        The folder.

    Raises:
        OSError: It cannot be made, or is a file.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> with made_folder(home / "a" / "b") as folder:
    ...     folder.is_dir()
    True
    >>> list(home.iterdir())
    []
    """
    target = Path(path)
    made = [each for each in (target, *target.parents) if not each.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        yield target
    finally:
        for each in made:
            with suppress(OSError):  # not empty, or never made
                each.rmdir()


def _remove_leftovers(folder: Path, mark: str) -> None:
    """Remove what killed processes left of the same file; a younger one may still be in the making."""
    for leftover in folder.glob(f".{mark}-*.part"):
        with suppress(FileNotFoundError):  # another process may be doing the same
            if time.time() - leftover.stat().st_mtime > _LEFT_OVER:
                leftover.unlink()
