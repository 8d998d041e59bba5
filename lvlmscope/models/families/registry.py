"""Registry of model families: the decorator that adds one, and which family a model belongs to."""

from typing import Any, Final, TypeVar

import torch

from lvlmscope.errors import UnsupportedModelError, message
from lvlmscope.models.families.generic import DefaultFamily
from lvlmscope.models.families.protocol import Family
from lvlmscope.registry import Registry

__all__ = ["FAMILIES", "family", "family_of", "register_family"]

# Which models a family claims is known only when it is loaded: without one, a model would be served by another family
FAMILIES: Final[Registry[Family]] = Registry("family", "lvlmscope.families", UnsupportedModelError, needs_all=True)
Kind = TypeVar("Kind", bound=type)


def family(kind: Kind) -> Kind:
    """Registers the class below it: `load`, `trace` and all else use it for the models that it claims.

    Args:
        kind: A subclass of `DefaultFamily` with a `name` of its own, made without arguments.

    Returns:
        The class itself.

    Raises:
        UnsupportedModelError: The name is taken or is the generic family's, or the class is no family.
    """
    register_family(kind())
    return kind


def register_family(family: Family) -> None:
    """Registers a family object, for one that is made with arguments; `@family` registers a class.

    Args:
        family: The family; it is asked before those registered earlier.

    Raises:
        UnsupportedModelError: The name is taken or is the generic family's, or the object is no family.
    """
    _require_family(family)
    FAMILIES.register(family.name, family, source=type(family))


def family_of(model: torch.nn.Module) -> Family:
    """The family of a model: the one registered last among those that claim it, else the generic one.

    Returns:
        The family.

    Raises:
        UnsupportedModelError: Another package offers a family that cannot be loaded.
    """
    claiming = (each for each in reversed(tuple(FAMILIES.values())) if each.claims(model))
    return next(claiming, DefaultFamily())


def _require_family(given: Any) -> None:
    doing = "register a family"
    if not isinstance(given, Family):
        got, fix = f"{given!r}"[:80], "derive it from lvlmscope.models.families.DefaultFamily"
        raise UnsupportedModelError(message(got, "all methods of the Family protocol", fix, task=doing))
    if given.name == DefaultFamily.name:
        got, fix = f"{type(given).__name__} with the name {given.name!r}", "give the class a name"
        raise UnsupportedModelError(message(got, "a name of its own", fix, task=doing))
