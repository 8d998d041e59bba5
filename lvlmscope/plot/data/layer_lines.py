"""Lines over depth, each with its band, from one trace's signal or from many traces' aggregate."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from lvlmscope.errors import ShapeError, message
from lvlmscope.palette import GROUNDED, HALLUCINATED, OTHER
from lvlmscope.plot.data.aggregates import is_average, over_traces
from lvlmscope.plot.data.signal_arrays import axis_numbers, over_other_axes

__all__ = ["Line", "Lines", "lines_of"]

# Okabe and Ito's blue, vermilion, green and purple, each with a dash of its own
_LOOKS: Final = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
_WORDS: Final = {
    "grounded": ("grounded words", GROUNDED, "-"),
    "hallucinated": ("hallucinated words", HALLUCINATED, "--"),
} | {"other": ("other words", OTHER, ":")}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One line ``[layer]``; NaN where nothing is defined.

    Attributes:
        name: In the legend; empty for a line alone.
        mean: The line.
        low: Lower end of its band.
        high: Upper end.
        colour: Its colour.
        dash: Its dashes.
    """

    name: str
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    colour: str
    dash: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines:
    """What one plot shows.

    Attributes:
        each: The lines.
        numbers: Layer numbers.
        meaning: What line and band are; empty where there is no band.
    """

    each: tuple[Line, ...]
    numbers: list[int]
    meaning: str

    @property
    def note(self) -> str:
        """What line and band are, and how many layers have no value; may be empty."""
        undefined = [~np.isfinite(line.mean) for line in self.each]
        count = int(np.logical_or.reduce(undefined).sum())
        missing = f"not defined for {count} of {len(self.numbers)} layers" if count else ""
        if any((one != undefined[0]).any() for one in undefined):
            missing += ", in some lines only"
        return "; ".join(text for text in (self.meaning, missing) if text)


def lines_of(signal: Any) -> Lines:
    """The lines of a signal: one, or one for each name along an axis of names.

    Args:
        signal: A labelled array with a layer axis, or an aggregate by layer.

    Raises:
        ShapeError: A dataset that is no aggregate, or one with further axes.
    """
    if isinstance(signal, xr.DataArray):
        parts, others = _split(signal), [str(dim) for dim in signal.dims if dim != _names(signal)]
        over = over_other_axes(signal, [dim for dim in others if dim != "layer"], joined=" and ")
        meaning = f"{over}; band: one standard deviation" if over else ""
        bands = [(name, *_spread(part)) for name, part in parts]
    elif is_average(signal) and set(signal["mean"].dims) <= {"layer", _names(signal["mean"])}:
        split = {name: _split(signal[name]) for name in ("mean", "low", "high")}
        bands = [
            (name, *(each.to_numpy().astype(float) for each in (mean, low, high)))
            for (name, mean), (_, low), (_, high) in zip(*split.values(), strict=True)
        ]
        level = float(signal.attrs.get("level", 0.95))
        interval = f"band: {100 * level:.3g} % interval" if np.isfinite(signal["low"]).any() else "no interval"
        meaning = f"{over_traces(signal, intervals=True)}; {interval}"
    else:
        got = f"a dataset with dims {dict(signal.sizes)}"
        fix = "aggregate by layer, or by layer and word"
        raise ShapeError(message(got, "what lv.aggregate gives by layer", fix))
    numbers = axis_numbers(signal if isinstance(signal, xr.DataArray) else signal["mean"], "layer")
    looks = [_look(name, index) for index, (name, *_) in enumerate(bands)]
    each = tuple(
        Line(name=look[0], mean=mean, low=low, high=high, colour=look[1], dash=look[2])
        for look, (_, mean, low, high) in zip(looks, bands, strict=True)
    )
    return Lines(each=each, numbers=numbers, meaning=meaning)


def _look(name: str, index: int) -> tuple[str, str, str]:
    return _WORDS.get(name, (name, *_LOOKS[index % len(_LOOKS)]))


def _names(array: xr.DataArray) -> str | None:
    """The axis of names, None without one."""
    named = [str(dim) for dim in array.dims if dim in array.coords and array.coords[dim].dtype.kind in "OU"]
    return next((dim for dim in named if dim != "layer"), None)


def _split(array: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    split = _names(array)
    return [("", array)] if split is None else [(str(n), array.sel({split: n})) for n in array.coords[split].values]


def _spread(array: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, and one standard deviation below and above it, where defined."""
    values = array.transpose("layer", ...).to_numpy().astype(float).reshape(array.sizes["layer"], -1)
    kept = np.ma.masked_invalid(values)
    mean, spread = np.ma.filled(kept.mean(1), np.nan), np.ma.filled(kept.std(1), np.nan)
    return mean, mean - spread, mean + spread
