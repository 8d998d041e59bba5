"""A property that is computed when it is first asked for, in code that torch can compile."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

__all__ = ["ComputedOnce", "computed_once"]

Value = TypeVar("Value")


class ComputedOnce(Generic[Value]):
    """As `functools.cached_property`, whose `__get__` torch's compiler does not follow."""

    def __init__(self, make: Callable[[Any], Value]) -> None:
        """Hold what computes the value.

        Args:
            make: The method that computes it.
        """
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Keep the name under which an object holds its value."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        """The value; an object that holds it is not asked again, as its own attribute comes first."""
        if instance is None:
            return self
        value = self._make(instance)
        instance.__dict__[self._name] = value
        return value


def computed_once(make: Callable[[Any], Value]) -> ComputedOnce[Value]:
    """Make a method a property that is computed once for each object.

    Args:
        make: The method.

    >>> class Square:
    ...     @computed_once
    ...     def area(self) -> int:
    ...         print("computing")
    ...         return 4
    >>> square = Square()
    >>> square.area + square.area
    computing
    8
    """
    return ComputedOnce(make)
