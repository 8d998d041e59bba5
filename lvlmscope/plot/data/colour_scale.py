"""The colour scale of a map: shared by all panels or of each, up to the highest value or cut above most values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from lvlmscope.errors import ModelInputError, message
from lvlmscope.palette import DIVERGING, SEQUENTIAL

__all__ = ["MOST", "Scale", "ScaleChoice", "check_colour_map", "scale_of", "scales_of"]

ScaleChoice = Literal["each", "shared", "robust"]
MOST: Final = 98.0  # per cent of the values that a robust scale keeps
_CUT: Final = 2.0  # times the limit, below which a highest value stays on the scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The range and colours of a map.

    Attributes:
        low: Value of the first colour.
        high: Value of the last colour.
        colours: Name of the colour map, known to matplotlib and (lower case, without `_r`) to plotly.
        beyond: What lies above `high`, in words; empty when nothing does.
    """

    low: float
    high: float
    colours: str
    beyond: str = ""


def scale_of(*values: Any, centred: bool = False) -> Scale:
    """One scale for all arrays: from 0 up for amounts, centred at 0 where there are negative values.

    Args:
        *values: Arrays; NaN and infinite values do not count.
        centred: Centre at 0 although nothing is negative, for differences.

    Examples:
        >>> scale_of([0.25, 0.5]).high, scale_of([-1.0, 0.5]).high
        (0.5, 1.0)
    """
    finite = _finite(values)
    most = float(np.abs(finite).max()) if finite.size else 1.0
    most = most or 1.0
    if centred or bool((finite < 0).any()):
        return Scale(low=-most, high=most, colours=DIVERGING)
    return Scale(low=0.0, high=most, colours=SEQUENTIAL)


def scales_of(
    panels: Sequence[np.ndarray],
    how: ScaleChoice,
    *,
    vmax: float | None = None,
    colours: str | None = None,
) -> list[Scale]:
    """A scale for each panel.

    Args:
        panels: Values of each; NaN and infinite ones do not count.
        how: `"shared"`, from 0 to the highest value of all; `"robust"`, shared, up to the value below which 98 % of
            all values that are not 0 lie, where the highest is more than twice that; `"each"`, so for each panel.
        vmax: Value of the last colour instead.
        colours: Name of a colour map; None for the usual ones.

    Examples:
        >>> scales_of([np.array([0.1, 0.2]), np.array([0.4])], "each")[0].high
        0.2
        >>> scales_of([np.r_[np.linspace(0.1, 0.2, 9), 5.0]], "robust")[0].beyond
        '1 value above, up to 5'
    """
    groups = [[panel] for panel in panels] if how == "each" and vmax is None else [list(panels)]
    found = []
    for group in groups:
        scale = scale_of(*group)
        limit = scale.high if how == "shared" else _robust_limit(_finite(group), scale.high)
        high = limit if vmax is None else vmax
        scale = replace(scale, high=high, low=-high if scale.low < 0 else 0.0, beyond=_beyond(_finite(group), high))
        found.append(replace(scale, colours=colours or scale.colours))
    return found if len(found) == len(panels) else found * len(panels)


def check_colour_map(name: str | None) -> None:
    """Refuse a colour map that matplotlib does not know.

    Raises:
        ModelInputError: There is none of this name.
    """
    import matplotlib as mpl

    from lvlmscope.registry import close_match

    if name is not None and name not in mpl.colormaps:
        close = close_match(name, list(mpl.colormaps))
        fix = f"did you mean {close!r}" if close else "choose one of these, or leave cmap out"
        expected = "the name of a colour map of matplotlib, such as 'viridis', 'magma', 'cividis' or 'RdBu_r'"
        raise ModelInputError(message(f"cmap={name!r}"[:80], expected, fix))


def _robust_limit(finite: np.ndarray, highest: float) -> float:
    sizes = np.abs(finite[finite != 0])
    if sizes.size < 2:
        return highest
    limit = float(np.percentile(sizes, MOST, method="lower"))
    return limit if highest > _CUT * limit else highest


def _beyond(finite: np.ndarray, high: float) -> str:
    above = np.abs(finite)[np.abs(finite) > high * (1 + 1e-6)]
    if not above.size:
        return ""
    return f"{above.size} value{'' if above.size == 1 else 's'} above, up to {above.max():.2g}"


def _finite(values: Sequence[Any]) -> np.ndarray:
    flat = np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in values])
    finite: np.ndarray = flat[np.isfinite(flat)]
    return finite
