"""What `lvlmscope.aggregate` found over many traces, as views draw it."""

from typing import Any, Final

import xarray as xr

from lvlmscope.errors import ShapeError, message
from lvlmscope.plot.data.unit_labels import counted

__all__ = ["FEW", "is_average", "mean_of", "over_traces"]

FEW: Final = 10  # traces, below which the draws of a bootstrap scatter clearly less than means of new traces would
_PARTS = ("mean", "spread", "count", "traces", "low", "high")


def is_average(found: Any) -> bool:
    """Whether this is what `aggregate` gives: mean, spread, count and interval over many traces."""
    return isinstance(found, xr.Dataset) and set(_PARTS) <= set(found.data_vars)


def mean_of(found: Any, *, dims: tuple[str, ...]) -> xr.DataArray:
    """The mean as a labelled array that knows its quantity and unit.

    Args:
        found: What `aggregate` gives.
        dims: Its axes must be these.

    Raises:
        ShapeError: Something else, or other axes.

    Examples:
        >>> values = xr.DataArray([0.5, 0.25], dims="layer")
        >>> parts = {name: values for name in ("mean", "spread", "count", "traces", "low", "high")}
        >>> mean_of(xr.Dataset(parts, attrs={"units": "nats"}), dims=("layer",)).attrs
        {'units': 'nats'}
    """
    if not is_average(found) or set(found["mean"].dims) != set(dims) or 0 in found["mean"].shape:
        got = f"a dataset with dims {dict(found.sizes)}" if is_average(found) else "a dataset of another kind"
        expected = f"what lv.aggregate gives by {' and '.join(dims)}"
        raise ShapeError(message(got, expected, "aggregate by these, or choose one with .sel(...)"))
    attrs = {name: found.attrs[name] for name in ("long_name", "units", "bounds") if name in found.attrs}
    mean: xr.DataArray = found["mean"].transpose(*dims).assign_attrs(**attrs)
    return mean


def over_traces(found: xr.Dataset, *, intervals: bool = False) -> str:
    """How many traces the means are over, in words.

    Args:
        intervals: The figure shows them: those over few traces are too narrow, which is said.
    """
    count = int(found["traces"].max())
    few = f" (fewer than {FEW}: intervals too narrow)" if intervals and 1 < count < FEW else ""
    return f"mean over {counted(count, 'trace')}{few}"
