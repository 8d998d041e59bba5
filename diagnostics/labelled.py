"""Numbers of a trace with the names of their axes, units, bounds and source."""

from typing import Any

import torch
import xarray as xr

from lvlmscope.labels import coordinates
from lvlmscope.record import Trace

__all__ = ["labelled"]


def labelled(trace: Trace, values: torch.Tensor, dims: tuple[str, ...], **attrs: Any) -> xr.DataArray:
    """A labelled float32 array on the CPU.

    Args:
        trace: Where the labels come from.
        values: Numbers, one axis for each of `dims`.
        dims: Names among step, layer, head, key.
        **attrs: `long_name`, `units`, `bounds` (low, high; None where there is none) and `reference`, and the options
            that the numbers depend on.

    Returns:
        The array; its name is `long_name` with underscores.
    """
    missing = {"long_name", "units", "bounds", "reference"} - set(attrs)
    assert not missing, f"a signal tells its {', '.join(sorted(missing))}"
    array = values.detach().to("cpu", torch.float32).numpy()
    name = str(attrs["long_name"]).replace(" ", "_")
    return xr.DataArray(array, dims=dims, coords=coordinates(trace, *dims), name=name, attrs=attrs)
