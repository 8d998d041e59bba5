"""Whether the running forward belongs to a second sequence of the model, beside the one that is generated."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["in_branch", "second_sequence"]


class _Here(threading.local):
    in_branch = False


_HERE = _Here()


def in_branch() -> bool:
    """Whether this thread runs a second sequence, which is not counted as generation.

    Returns:
        Whether it does.
    """
    return _HERE.in_branch


@contextmanager
def second_sequence() -> Iterator[None]:
    """What this thread runs inside belongs to a second sequence.

    Yields:
        Nothing.
    """
    before, _HERE.in_branch = _HERE.in_branch, True
    try:
        yield
    finally:
        _HERE.in_branch = before
