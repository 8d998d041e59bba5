"""Parameters as their annotations declare them: types, ranges and choices, checked before a function runs."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from lvlmscope.errors import ModelInputError, message
from lvlmscope.interface.declared_types import allows, choices, describe_hint, has_type, members, without_range
from lvlmscope.registry import close_match

__all__ = ["check_fields", "checkable_hints", "checked", "is_checked", "plain_number"]

_MARK = "_lvlmscope_checked"
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Refuses arguments that the function's annotations do not allow, before anything of it runs.

    Checked are numbers (``Annotated[int, Range(ge=1)]`` with bounds), `bool`, `str`, `None`, `Literal`, sequences of
    these, and unions of them; other annotations are left to the function. Whole numbers may be numpy's, 0-d tensors or
    0-d labelled arrays, and become `int`; a `bool` is no number. A misspelt option gets the close name.

    Returns:
        The function, with its signature.

    Raises:
        ModelInputError: When called with a value of another type, out of range, or not among the choices: the message
            names the parameter.
        TypeError: A missing argument, or one of an unknown name.

    >>> from typing import Annotated
    >>> from lvlmscope.interface.declared_types import Range
    >>> @checked
    ... def repeat(text: str, times: Annotated[int, Range(ge=1)] = 1) -> str:
    ...     return text * times
    >>> repeat("ab", times=0)
    Traceback (most recent call last):
    ...
    lvlmscope.errors.ModelInputError: call repeat: got times=0; expected: a whole number from 1; change times.
    """
    signature = inspect.signature(function)
    # At the first call: what annotations name may be defined below the function
    declared = functools.cache(functools.partial(checkable_hints, function))

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        hints = declared()
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise _misspelt(function.__name__, signature, kwargs, error) from None
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = _required(hints[name], name, value, f"call {function.__name__}")
        return function(*bound.args, **bound.kwargs)

    vars(call)[_MARK] = True
    return call


def check_fields(options: Any, task: str) -> None:
    """Refuses field values of a dataclass that its annotations do not allow, by the rules of `checked`.

    Numbers of other libraries become Python's, in frozen dataclasses too.

    Args:
        options: An instance, in its `__post_init__`.
        task: What is being done, for the message.

    Raises:
        ModelInputError: A value of another type, out of range, or not among the choices.
    """
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        if _is_checkable(hint):
            object.__setattr__(options, name, _required(hint, name, getattr(options, name), task))


def is_checked(function: Callable[..., Any]) -> bool:
    """Whether a function's arguments are checked by `checked`.

    Args:
        function: Any function.

    Returns:
        Whether they are.
    """
    return _MARK in vars(function)


def checkable_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function that `checked` checks.

    Args:
        function: A function, checked or not.

    Returns:
        By parameter. Left out are those of other kinds, and those that name types imported for type checkers only.
    """
    bare = inspect.unwrap(function)
    found, names = {}, getattr(bare, "__globals__", {})
    for name, parameter in inspect.signature(bare).parameters.items():
        hint = parameter.annotation
        if isinstance(hint, str):
            try:
                hint = eval(hint, {**names})  # noqa: S307 - our own annotations
            except NameError:
                continue
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and _is_checkable(hint):
            found[name] = hint
    return found


def _is_checkable(hint: Any) -> bool:
    if union := members(hint):
        return all(map(_is_checkable, union))
    bare, _ = without_range(hint)
    if bare in (float, int, bool, str, None, type(None)) or get_origin(bare) is Literal:
        return True
    if get_origin(bare) in (Sequence, tuple):
        return all(_is_checkable(each) for each in get_args(bare) if each is not ...)
    return False


def _required(hint: Any, name: str, value: Any, task: str) -> Any:
    kept = plain_number(value, hint)
    as_tuple = tuple(kept) if isinstance(kept, list | range) else kept
    if allows(hint, as_tuple):
        return kept
    got = f"{name}={value!r}"[:80] + ("" if has_type(hint, as_tuple) else f" of type {type(value).__name__}")
    close = close_match(value, choices(hint)) if isinstance(value, str) else ""
    fix = f"did you mean {close!r}" if close else f"change {name}"
    raise ModelInputError(message(got, describe_hint(hint), fix, task=task))


def plain_number(value: Any, hint: Any) -> Any:
    """A whole number of numpy, torch or xarray as `int`, and a 0-d number as `float`, where the hint is one.

    In lists and tuples likewise, each element.

    Args:
        hint: What is declared, or a list of what an element may be.

    Returns:
        The number, or any other value as it is.
    """
    if type(value) in (list, tuple):
        parts = _element_hints(hint)
        return type(value)(plain_number(each, parts) for each in value) if parts else value
    if isinstance(value, bool | int | float | str) or value is None or isinstance(value, Sequence | Mapping):
        return value
    hints = hint if isinstance(hint, list) else members(hint) or (hint,)
    bares = [without_range(each)[0] for each in hints]
    kind = str(getattr(value, "dtype", ""))
    if getattr(value, "ndim", 0) or "bool" in kind:
        return value
    if int in bares and "int" in kind:
        return int(value)
    return float(value) if float in bares and ("float" in kind or "int" in kind) else value


def _element_hints(hint: Any) -> list[Any]:
    """What the elements of a declared sequence may be."""
    bares = [without_range(each)[0] for each in (hint if isinstance(hint, list) else members(hint) or (hint,))]
    found = [part for each in bares if get_origin(each) in (Sequence, tuple) for part in get_args(each)]
    return [part for part in found if part is not ...]


def _misspelt(function: str, signature: inspect.Signature, given: Mapping[str, Any], error: TypeError) -> TypeError:
    """Python's own error, with the close name of an unknown argument."""
    unknown = [name for name in given if name not in signature.parameters]
    close = close_match(unknown[0], signature.parameters) if unknown else ""
    return TypeError(f"{function}(): {error}" + (f"; did you mean {close!r}?" if close else ""))
