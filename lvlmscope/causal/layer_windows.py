"""Windows of consecutive decoder layers that slide over the depth, and sets of layers that the caller names."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from lvlmscope.attention.layer_bands import resolve_layers
from lvlmscope.attention.option_checks import whole_number
from lvlmscope.errors import ModelInputError, message

__all__ = ["Windows", "layer_windows", "window_coordinates"]

Windows = int | Sequence[Any]  # each as `resolve_layers` takes it

_ACCEPTED: Final = "a number of layers, 1 or more, or a list of layer sets such as [[0, 1], (0.5, 1.0)]"


def layer_windows(windows: Windows, num_layers: int, attention_layers: Sequence[int]) -> list[tuple[int, ...]]:
    """The layers of each window.

    Args:
        windows: A width: one window around each layer, cut off at both ends of the decoder as Geva et al. do it; an
            even one has one more layer before its centre. Or sets of layers, each as `lvlmscope.resolve_layers` takes
            them.
        num_layers: Number of decoder layers.
        attention_layers: Those that have attention; a width counts them alone.

    Returns:
        Ascending layer numbers of each window.

    Raises:
        ModelInputError: Neither, no window, or layers that the model does not have.

    Examples:
        >>> layer_windows(3, 4, range(4))
        [(0, 1), (0, 1, 2), (1, 2, 3), (2, 3)]
        >>> layer_windows([[0], (0.5, 1.0)], 4, range(4))
        [(0,), (2, 3)]
    """
    width, places = whole_number(windows), range(len(attention_layers))
    if width is not None and width > 0:
        spans = [range(max(place - width // 2, 0), min(place - width // 2 + width, len(places))) for place in places]
        return [tuple(attention_layers[place] for place in span) for span in spans]
    nested = isinstance(windows, Iterable) and not isinstance(windows, str)
    sets: list[Any] = list(windows) if nested else []  # type: ignore[arg-type]
    if not sets or any(whole_number(one) is not None for one in sets):
        raise ModelInputError(message(f"layers={windows!r}"[:120], _ACCEPTED, "change layers"))
    return [resolve_layers(one, num_layers, attention_layers) for one in sets]


def window_coordinates(windows: Sequence[tuple[int, ...]], attention_layers: Sequence[int]) -> dict[str, Any]:
    """Labels along the axis of windows: their layers in words, and the first and the last of them.

    Returns:
        What `xarray.DataArray(coords=...)` takes.

    Examples:
        >>> window_coordinates([(0,), (1, 2)], range(4))["window"].tolist()
        ['0', '1-2']
    """
    return {
        "window": np.array([_label(one, attention_layers) for one in windows], dtype=object),
        "first_layer": ("window", np.array([one[0] for one in windows])),
        "last_layer": ("window", np.array([one[-1] for one in windows])),
    }


def _label(window: tuple[int, ...], attention_layers: Sequence[int]) -> str:
    span = [layer for layer in attention_layers if window[0] <= layer <= window[-1]]
    if len(window) == 1:
        return str(window[0])
    return f"{window[0]}-{window[-1]}" if len(span) == len(window) else ",".join(map(str, window))
