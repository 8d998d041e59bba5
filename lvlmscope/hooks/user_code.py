"""Exceptions of user code: they keep their type, and a note says where they come from."""

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, TracebackType
from typing import Any, Final

__all__ = ["calling", "is_users_own", "noting_callables"]

_PREFIX: Final = "raised by "


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Note on every exception from inside what was called; the innermost note counts.

    Args:
        what: The code, such as "the intervention DLEAF, in edit_attention".

    Yields:
        Nothing.

    Examples:
        >>> try:
        ...     with calling("my filter"):
        ...         raise KeyError("no such word")
        ... except KeyError as error:
        ...     error.__notes__
        ['raised by my filter']
    """
    try:
        yield
    except BaseException as error:
        _note(error, what)
        raise


def is_users_own(error: BaseException) -> bool:
    """Whether an exception came out of code that `calling` or `noting_callables` watched.

    Returns:
        Whether it did.
    """
    return any(note.startswith(_PREFIX) for note in getattr(error, "__notes__", ()))


@contextmanager
def noting_callables(named: Mapping[str, Any]) -> Iterator[None]:
    """As `calling`, for functions and objects that others call: they are recognised in the traceback, not wrapped.

    Args:
        named: Callables, objects with methods, or lists of these, by the name of the option that holds them.

    Yields:
        Nothing.
    """
    try:
        yield
    except BaseException as error:
        if where := _found_in(error.__traceback__, named):
            _note(error, where)
        raise


def _note(error: BaseException, what: str) -> None:
    if isinstance(error, Exception) and not is_users_own(error):
        error.add_note(_PREFIX + what)


def _found_in(traceback: TracebackType | None, named: Mapping[str, Any]) -> str:
    """The option whose code is in a traceback, with its place in a list; empty without one."""
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    for name, value in named.items():
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        for number, each in enumerate(value if listed else [value]):
            codes = _codes(each)
            owners = [frame.f_locals.get("self", each) for frame in frames if frame.f_code in codes]
            if any(owner is each for owner in owners):
                kind = getattr(each, "__name__", type(each).__name__)
                return f"{name}[{number}], {kind}" if listed else f"{name}, {kind}"
    return ""


def _codes(value: Any) -> set[CodeType]:
    """Code of a function, or of all methods of an object."""
    while isinstance(value, functools.partial):
        value = value.func
    value = inspect.unwrap(value) if callable(value) else value
    function = getattr(value, "__func__", value)
    if inspect.isfunction(function):
        return {function.__code__}
    methods = (inspect.unwrap(each) for kind in type(value).__mro__ for each in vars(kind).values() if callable(each))
    return {each.__code__ for each in methods if inspect.isfunction(each)}
