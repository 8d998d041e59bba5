"""Attributes of one object, set temporarily and restored."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["shadowed"]

_ABSENT: Final = object()


@contextmanager
def shadowed(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute in an object's own dictionary, and put back what was there: a value, or nothing.

    An attribute that was changed in the meantime is left as it is found: that change was someone else's.

    Args:
        owner: An object with a dictionary of its own, such as a module.
        value: Its value for the while.

    Yields:
        Nothing.

    Examples:
        >>> class Box: pass
        >>> box = Box()
        >>> with shadowed(box, "size", 1):
        ...     box.size
        1
        >>> vars(box)
        {}
    """
    own = vars(owner)
    before = own.get(name, _ABSENT)
    own[name] = value
    try:
        yield
    finally:
        if own.get(name, _ABSENT) is value:
            if before is _ABSENT:
                del own[name]
            else:
                own[name] = before
