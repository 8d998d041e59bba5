"""The colour scale that panels share."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lvlmscope.palette import DIVERGING, SEQUENTIAL

__all__ = ["Scale", "scale_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The range and colours of a map.

    Attributes:
        low: Value of the first colour.
        high: Value of the last colour.
        colours: Name of the colour map, known to matplotlib and (lower case, without `_r`) to plotly.
    """

    low: float
    high: float
    colours: str


def scale_of(*values: Any, centred: bool = False) -> Scale:
    """One scale for all arrays: from 0 up for amounts, centred at 0 where there are negative values.

    Args:
        *values: Arrays; NaN and infinite values do not count.
        centred: Centre at 0 although nothing is negative, for differences.

    Examples:
        >>> scale_of([0.25, 0.5]).high, scale_of([-1.0, 0.5]).high
        (0.5, 1.0)
    """
    flat = np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in values])
    finite = flat[np.isfinite(flat)]
    most = float(np.abs(finite).max()) if finite.size else 1.0
    most = most or 1.0
    if centred or bool((finite < 0).any()):
        return Scale(low=-most, high=most, colours=DIVERGING)
    return Scale(low=0.0, high=most, colours=SEQUENTIAL)
