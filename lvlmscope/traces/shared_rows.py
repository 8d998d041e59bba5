"""One row object of a trace, and one result of a function of it, for everything that reads the trace in one call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

__all__ = ["computed_once", "once_a_trace", "sharing_rows"]

Made = TypeVar("Made")

# Traces by id, each kept beside what was made of it, so that no other object gets its id meanwhile
_SHARED: Final[ContextVar[dict[tuple[int, Any], tuple[object, Any]] | None]] = ContextVar("shared_rows", default=None)


@contextmanager
def sharing_rows() -> Iterator[None]:
    """Let what is read from a trace inside be computed once; a block within a block shares with it.

    Yields:
        Nothing; afterwards what was computed is released.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> trace = planted_trace(steps=2)
        >>> with sharing_rows():
        ...     trace.rows() is trace.rows()
        True
        >>> trace.rows() is trace.rows()
        False
    """
    if _SHARED.get() is not None:
        yield
        return
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def once_a_trace(trace: object, key: Any, make: Callable[[], Made]) -> Made:
    """What belongs to a trace, made once inside `sharing_rows`, else anew.

    Args:
        key: Names it among what is made of the trace.
        make: Makes it; it is not written into.

    Returns:
        What was made.
    """
    shared = _SHARED.get()
    if shared is None:
        return make()
    if (id(trace), key) not in shared:
        shared[id(trace), key] = (trace, make())
    found: Made = shared[id(trace), key][1]
    return found


def computed_once(compute: Callable[..., Made], trace: object, *given: Any, **options: Any) -> Made:
    """What a function gives of a trace, computed once for each of its options inside `sharing_rows`, else anew.

    Args:
        trace: Its first argument.
        *given: Further arguments, such as the model.
        **options: Its options.

    Returns:
        Its result, which is not to be written into.
    """
    key = (compute, tuple(map(id, given)), repr(sorted(options.items())))
    return once_a_trace(trace, key, lambda: compute(trace, *given, **options))
