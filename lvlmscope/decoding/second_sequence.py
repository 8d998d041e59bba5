"""Whether the running forward belongs to a branch: a second sequence beside the one that is generated."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["in_branch", "second_sequence"]


class _Here(threading.local):
    in_branch = False


_HERE = _Here()


def in_branch() -> bool:
    """Whether this thread runs a branch, whose forwards do not count as generation."""
    return _HERE.in_branch


@contextmanager
def second_sequence() -> Iterator[None]:
    """Forwards that this thread runs inside the block belong to a branch.

    Yields:
        Nothing.
    """
    before, _HERE.in_branch = _HERE.in_branch, True
    try:
        yield
    finally:
        _HERE.in_branch = before
