"""What jaxtyping's import hook applies to the functions of the package while testing.

jaxtyping's own decorator, which binds the arguments of every call, would make half of the time that the tests take.
It stays where a signature names shapes. Functions inside functions, which are decorated anew at each call of the outer
one, and signatures without shapes, which mypy reads, are left as they are.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any, Self

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

# The hook decorates functions one by one, where beartype cannot tell what `Self` is.
checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any})))

KINDS = ("Bool", "Float", "Int", "Shaped")
_jaxtyped = jaxtyping.jaxtyped


def names_shapes(annotation: object) -> bool:
    """Whether an annotation is an array of jaxtyping's, holds one, or is text that names one."""
    if isinstance(annotation, typing.ForwardRef):
        return names_shapes(annotation.__forward_arg__)
    if isinstance(annotation, str):
        return any(f"{kind}[" in annotation for kind in KINDS)
    if isinstance(annotation, list):  # a callable's parameters
        return any(map(names_shapes, annotation))
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(names_shapes, typing.get_args(annotation)))


def where_shapes_are_named(*, typechecker: object) -> Callable[[Any], Any]:
    """In place of `jaxtyping.jaxtyped`, which the import hook writes before every definition."""

    def decorate(defined: Any) -> Any:
        signed = defined.__init__ if inspect.isclass(defined) else defined
        annotations = getattr(signed, "__annotations__", {}).values()
        if "<locals>" in signed.__qualname__ or not any(map(names_shapes, annotations)):
            return defined
        return _jaxtyped(defined, typechecker=typechecker)

    return decorate
