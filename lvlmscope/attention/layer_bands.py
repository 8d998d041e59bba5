"""Layer numbers given absolutely or as a band of depth, so that one configuration fits models of any depth."""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Final

from lvlmscope.attention.option_checks import whole_number
from lvlmscope.errors import ModelInputError, message
from lvlmscope.interface.parameter_checks import checked

__all__ = ["DEEP", "INITIAL", "MIDDLE", "LayerSpec", "absolute_layers", "resolve_layers"]

LayerSpec = Sequence[int] | Sequence[float] | None

# Bands of depth: of 32 layers 0-2, 12-18 and 22-31
INITIAL: Final = (0.0, 0.09)
MIDDLE: Final = (0.375, 0.59)
DEEP: Final = (0.69, 1.0)


@checked
def resolve_layers(
    spec: LayerSpec | Iterable[Any],
    num_layers: int,
    attention_layers: Sequence[int] | None = None,
    *,
    name: str = "layers",
) -> tuple[int, ...]:
    """Layer numbers that a specification names in a model of this depth.

    Depth of the n-th of N layers is ``n / (N - 1)``, 0 for the first and 1 for the last. A band ``(start, stop)`` of
    two floats holds the layers with ``start <= depth < stop``, the last one too when ``stop`` is 1. For 32 layers the
    bands (0.0, 0.09), (0.375, 0.59) and (0.69, 1.0) are layers 0-2, 12-18 and 22-31. In decoders with recurrent or
    convolutional layers a band counts the layers that have attention.

    Args:
        spec: Absolute numbers (whole numbers, negative ones count from the end), a band (two floats), or None for all
            layers.
        num_layers: L, number of decoder layers.
        attention_layers: Numbers of the layers that have attention, ascending; None for all.
        name: What the specification is called, for messages.

    Returns:
        Ascending numbers of layers with attention; a band too narrow for the model names the layer nearest to its
        middle.

    Raises:
        ModelInputError: A number outside the model or of a layer without attention, or a band that is not one.

    Examples:
        >>> resolve_layers((0.375, 0.59), 32)
        (12, 13, 14, 15, 16, 17, 18)
        >>> resolve_layers([0, -1], 8)
        (0, 7)
        >>> resolve_layers((0.5, 1.0), 8, [1, 3, 5, 7])
        (5, 7)
    """
    attending = tuple(range(num_layers)) if attention_layers is None else tuple(attention_layers)
    if spec is None:
        return attending
    if not _is_list(spec):
        raise _no_such_layers(f"{name}={spec!r}", num_layers)
    values = tuple(spec)
    numbers = [whole_number(value) for value in values]
    if values and all(number is not None for number in numbers):
        chosen = absolute_layers(values, num_layers, name=name)
        if blind := sorted(set(chosen) - set(attending)):
            got, expected = f"{name} {blind} without attention", f"layers that have it: {list(attending)}"
            fix = "choose among these, or a band of depth"
            raise ModelInputError(message(got, expected, fix, task="choose layers"))
        return tuple(sorted(set(chosen)))
    if values and all(
        number is None and isinstance(value, Real) for number, value in zip(numbers, values, strict=True)
    ):
        return tuple(attending[place] for place in _band(values, len(attending), name))
    raise _no_such_layers(f"{name}={spec!r}", num_layers)


def _is_list(spec: Any) -> bool:
    return isinstance(spec, Iterable) and not isinstance(spec, str) and getattr(spec, "ndim", 1) == 1


def absolute_layers(numbers: Iterable[Any], num_layers: int, *, name: str = "layers") -> list[int]:
    """Layer numbers from 0, in the order given.

    Args:
        numbers: Decoder layer numbers; negative ones count from the end.
        num_layers: Number of decoder layers.
        name: What they are called, for messages.

    Raises:
        ModelInputError: A number outside the model, or no whole number.

    Examples:
        >>> absolute_layers([-1, 0], 8)
        [7, 0]
    """
    found = []
    for given in numbers:
        number = whole_number(given)
        if number is None or number not in range(-num_layers, num_layers):
            raise _no_such_layers(f"{name}={given!r}" if number is None else f"{name} {number}", num_layers)
        found.append(number % num_layers)
    return found


def _no_such_layers(got: str, num_layers: int) -> ModelInputError:
    expected = f"a list of ints from {-num_layers} to {num_layers - 1}, two floats in [0, 1], or None for all layers"
    return ModelInputError(message(" ".join(got.split())[:120], expected, "choose other layers", task="choose layers"))


def _band(values: tuple[Any, ...], count: int, name: str) -> tuple[int, ...]:
    """Places, among so many layers, of those in a band."""
    if len(values) != 2 or not 0.0 <= values[0] < values[1] <= 1.0:
        got, expected = f"{name}={values!r}", "(start, stop) with 0 <= start < stop <= 1"
        raise ModelInputError(message(got, expected, "change the band", task="choose a band of layers"))
    start, stop = values
    last = max(count - 1, 1)
    inside = tuple(n for n in range(count) if start <= n / last < stop or (stop == 1.0 and n == last))
    return inside or (min(round((start + stop) / 2 * last), count - 1),)
