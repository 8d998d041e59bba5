"""Files written whole or not at all: under a temporary name in the same folder, then renamed."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that takes the place of `path` when the block ends without an error.

    Args:
        path: File to write; an existing one is replaced.

    Yields:
        The temporary file, empty and with the permissions of a new file; it is gone after the block in any case.

    Raises:
        OSError: The folder does not exist or cannot be written to, or `path` is a folder.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with whole_file(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('whole', 1)
    """
    target = Path(path)
    temporary = target.parent / f".{uuid.uuid4().hex}.part"  # shorter than most names: no limit of length is met
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors writes for the owner alone
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
