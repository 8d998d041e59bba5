"""Layer numbers given absolutely or as a band of depth, so that one configuration fits models of any depth."""

from collections.abc import Sequence
from typing import Final

from lvlmscope.errors import ModelInputError, message

__all__ = ["DEEP", "INITIAL", "MIDDLE", "LayerSpec", "absolute_layers", "resolve_layers"]

LayerSpec = Sequence[int] | Sequence[float] | None

# Bands of depth: of 32 layers 0-2, 12-18 and 22-31
INITIAL: Final = (0.0, 0.09)
MIDDLE: Final = (0.375, 0.59)
DEEP: Final = (0.69, 1.0)


def resolve_layers(spec: LayerSpec, num_layers: int) -> tuple[int, ...]:
    """Layer numbers that a specification names in a model of this depth.

    Depth of layer ``l`` is ``l / (L - 1)``, 0 for the first and 1 for the last layer. A band ``(start, stop)`` of two
    floats holds the layers with ``start <= depth < stop``, the last one too when ``stop`` is 1. For 32 layers the
    bands (0.0, 0.09), (0.375, 0.59) and (0.69, 1.0) are layers 0-2, 12-18 and 22-31.

    Args:
        spec: Absolute numbers (ints, negative ones count from the end), a band (two floats), or None for all layers.
        num_layers: L, number of decoder layers.

    Returns:
        Ascending layer numbers; a band too narrow for the model names the layer nearest to its middle.

    Raises:
        ModelInputError: A number outside the model, or a band that is not one.

    Examples:
        >>> resolve_layers((0.375, 0.59), 32)
        (12, 13, 14, 15, 16, 17, 18)
        >>> resolve_layers([0, -1], 8)
        (0, 7)
    """
    if spec is None:
        return tuple(range(num_layers))
    values = tuple(spec)
    if values and all(isinstance(v, float) for v in values):
        return _band(values, num_layers)
    numbers = [value for value in values if isinstance(value, int)]
    if values and len(numbers) == len(values):
        return tuple(sorted(set(absolute_layers(numbers, num_layers))))
    raise _no_such_layers(spec, num_layers)


def absolute_layers(numbers: Sequence[int], num_layers: int) -> list[int]:
    """Layer numbers from 0, in the order given.

    Args:
        numbers: Decoder layer numbers; negative ones count from the end.
        num_layers: Number of decoder layers.

    Raises:
        ModelInputError: A number outside the model.

    Examples:
        >>> absolute_layers([-1, 0], 8)
        [7, 0]
    """
    if any(number not in range(-num_layers, num_layers) for number in numbers):
        raise _no_such_layers(numbers, num_layers)
    return [number % num_layers for number in numbers]


def _no_such_layers(given: object, num_layers: int) -> ModelInputError:
    expected = f"ints from {-num_layers} to {num_layers - 1}, two floats in [0, 1], or None for all layers"
    return ModelInputError(message(repr(given), expected, "change the layers option", task="choose layers"))


def _band(values: tuple[float, ...], num_layers: int) -> tuple[int, ...]:
    if len(values) != 2 or not 0.0 <= values[0] < values[1] <= 1.0:
        expected = "(start, stop) with 0 <= start < stop <= 1"
        raise ModelInputError(
            message(repr(values), expected, "change the layers option", task="choose a band of layers")
        )
    start, stop = values
    last = max(num_layers - 1, 1)
    inside = tuple(n for n in range(num_layers) if start <= n / last < stop or (stop == 1.0 and n == last))
    return inside or (min(round((start + stop) / 2 * last), num_layers - 1),)
