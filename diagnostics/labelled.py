"""Numbers of a trace with the names of their axes, units, bounds and source."""

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr

from lvlmscope.labels import coordinates
from lvlmscope.record import Trace

__all__ = ["labelled"]

_OF_TRACE = ("step", "layer", "head", "key")


def labelled(
    trace: Trace,
    values: torch.Tensor,
    dims: tuple[str, ...],
    *,
    coords: Mapping[str, Any] | None = None,
    **attrs: Any,
) -> xr.DataArray:
    """A labelled float32 array on the CPU; yes-or-no values stay bool.

    Args:
        trace: Where the labels come from.
        values: Numbers, one axis for each of `dims`.
        dims: Names among step, layer, head, key, and of any further axis.
        coords: Labels of further axes, or instead of the trace's.
        **attrs: `long_name`, `units`, `bounds` (low, high; None where there is none) and `reference`, and the options
            that the numbers depend on.

    Returns:
        The array; its name is `long_name` with underscores.
    """
    missing = {"long_name", "units", "bounds", "reference"} - set(attrs)
    assert not missing, f"a signal tells its {', '.join(sorted(missing))}"
    array = values.detach().to("cpu", torch.bool if values.dtype == torch.bool else torch.float32).numpy()
    name = str(attrs["long_name"]).replace(" ", "_")
    given = dict(coords or {})
    own = coordinates(trace, *(dim for dim in dims if dim in _OF_TRACE and dim not in given))
    return xr.DataArray(array, dims=dims, coords=own | given, name=name, attrs=attrs)
