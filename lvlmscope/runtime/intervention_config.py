"""Configurations of interventions: types, ranges and choices declared by the fields, checked, and described as JSON."""

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self, get_type_hints

from lvlmscope.errors import InterventionError, ModelInputError, message
from lvlmscope.interface.declared_types import allows, choices, describe_hint, has_type
from lvlmscope.interface.parameter_checks import plain_number
from lvlmscope.registry import close_match
from lvlmscope.runtime.protocol import MethodCard

__all__ = ["InterventionConfig", "check_parameters"]


class InterventionConfig:
    """Base of an intervention's dataclass: checks its fields as declared, and describes them.

    Declare numbers as `float` or `int`, with bounds as ``Annotated[float, Range(ge=0, le=1)]``, choices as `Literal`,
    layers as `LayerSpec`; unions of these, `None`, `str`, `bool`, `tuple[...]` and other classes are possible.
    Lists and ranges become tuples, so that the configuration cannot change and equals the one read from JSON.

    The subclass is decorated with ``@dataclass(frozen=True, slots=True, kw_only=True)`` and adds ``start``. A slotted
    dataclass is created anew by its decorator, so a base method is called by its class,
    ``InterventionConfig.describe(self)``, not by ``super()``.

    Attributes:
        reference: What the method is cited by: the paper, its equations, and whether it is our reading.
        card: What is the paper's and what is ours, cost, and search space; None for a method without one.
    """

    __slots__ = ()

    reference: ClassVar[str] = ""
    card: ClassVar[MethodCard | None] = None

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Refuse values without a name where all fields are keyword-only, and say which field the first one may be.

        Raises:
            InterventionError: A value without its parameter's name.
        """
        del named
        accepted = _fields(cls)
        if given and accepted and all(each.kw_only for each in accepted):
            names = [each.name for each in accepted]
            fitting = next((each for each in names if _fits(cls, each, given[0])), names[0])
            got, expected = f"{given[0]!r}"[:80] + " without a name", ", ".join(f"{each}=" for each in names)
            fix = f"write {cls.__name__}({fitting}=...)"
            raise InterventionError(message(got, expected, fix, task=f"configure {cls.__name__}"))
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check every field, then what `validate` requires.

        Raises:
            InterventionError: A value of another type than declared.
            ModelInputError: A value out of range, or not among the choices.
        """
        check_parameters(self)
        self.validate()

    def validate(self) -> None:
        """Checks of fields together, such as one threshold below another; the default requires nothing."""

    def describe(self) -> dict[str, Any]:
        """Name, reference and parameters (JSON values); a parameter that is an object is described by its text."""
        parameters = {each.name: _json_value(getattr(self, each.name)) for each in _fields(self)}
        return {"name": type(self).__name__, "reference": self.reference, "parameters": parameters}


def check_parameters(config: Any) -> None:
    """Refuses a value that its field's declaration does not allow; lists and ranges become tuples.

    Whole numbers of numpy, 0-d tensors and 0-d labelled arrays become `int`, alone and in a sequence.

    Args:
        config: An instance of a frozen dataclass.

    Raises:
        InterventionError: A value of another type, or a field declared by a type that cannot be checked.
        ModelInputError: A value out of range, or not among the choices.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for field in _fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        value = plain_number(value, hint)
        kept = tuple(value) if isinstance(value, list | range) else value
        if allows(hint, kept):
            object.__setattr__(config, field.name, kept)
            continue
        got, expected = f"{field.name}={value!r}"[:80], describe_hint(hint)
        task = f"configure {type(config).__name__}"
        if has_type(hint, kept):
            close = close_match(value, choices(hint)) if isinstance(value, str) else ""
            fix = f"did you mean {close!r}" if close else f"choose {field.name} there"
            raise ModelInputError(message(got, expected, fix, task=task))
        got = f"{got} of type {type(value).__name__}"
        raise InterventionError(message(got, expected, f"change {field.name}", task=task))


def _fields(config: Any) -> tuple[Any, ...]:
    return fields(config) if is_dataclass(config) else ()


def _fits(kind: type, name: str, value: Any) -> bool:
    """Whether a value is of the type that a field is declared with."""
    kept = tuple(value) if isinstance(value, list | range) else value
    return has_type(get_type_hints(kind, include_extras=True)[name], kept)


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral | Real):  # numpy's numbers too
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, list | tuple | range):
        return [_json_value(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _json_value(each) for key, each in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
