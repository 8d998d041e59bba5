"""Labels of a trace's axes, and the trace as a labelled dataset."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import xarray as xr

from lvlmscope.errors import ModelInputError, message
from lvlmscope.traces.array_attributes import storable

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["coordinates", "dataset", "labelled_array"]


def coordinates(trace: "Trace", *dims: str) -> dict[str, Any]:
    """Coordinates for the named dims: numbers, and token texts and kinds along step and key.

    Args:
        trace: Where the labels come from.
        *dims: Any of "step", "layer", "head", "key".

    Returns:
        What ``xarray.DataArray(coords=...)`` takes.
    """
    steps, keys = np.arange(trace.num_steps), np.arange(len(trace.tokens))
    every: dict[str, dict[str, Any]] = {
        "step": {"step": steps, "token": ("step", np.array(trace.answer_tokens, dtype=object))},
        "layer": {"layer": np.array(trace.layer_indices)},
        "head": {"head": np.arange(trace.num_heads)},
        "key": {
            "key": keys,
            "key_token": ("key", np.array(trace.tokens, dtype=object)),
            "key_kind": ("key", np.array(trace.layout.kinds, dtype=object)),
        },
    }
    return {name: value for dim in dims for name, value in every[dim].items()}


def dataset(trace: "Trace") -> xr.Dataset:
    """All tensors of a trace as one dataset.

    Args:
        trace: What to label.

    Returns:
        Variables attention, gradient, hidden_states and image_scores (where kept), log_probs, entropy, margin,
        answer_ids, image_keys, top_ids, top_log_probs.
    """
    four = ("step", "layer", "head", "key")
    dims: dict[str, tuple[str, ...]] = {
        "attention": four,
        "gradient": four,
        "hidden_states": ("step", "depth", "hidden"),
        "image_scores": ("step", "layer", "head"),
        "log_probs": ("step",),
        "entropy": ("step",),
        "margin": ("step",),
        "answer_ids": ("step",),
        "image_keys": ("key",),
        "top_ids": ("step", "rank"),
        "top_log_probs": ("step", "rank"),
    }
    units = {"log_probs": "nats", "entropy": "nats", "margin": "nats", "top_log_probs": "nats", "attention": "1"}
    variables = {
        name: xr.Variable(axes, getattr(trace, name).numpy(), {"units": units[name]} if name in units else {})
        for name, axes in dims.items()
        if getattr(trace, name) is not None
    }
    attrs = {"prompt": trace.prompt, "answer": trace.answer}
    return xr.Dataset(variables, coords=coordinates(trace, *four), attrs=attrs)


_OF_TRACE: Final = ("step", "layer", "head", "key")
_REQUIRED: Final = ("long_name", "units", "bounds", "reference")


def labelled_array(
    trace: "Trace",
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
        The array; its name is `long_name` with underscores. Its attributes have types that netCDF takes: a missing
        bound is an infinity, True and False are 1 and 0, and what is None is left out.

    Raises:
        ModelInputError: One of the four attributes is missing.
    """
    missing = [name for name in _REQUIRED if name not in attrs]
    if missing:
        got, fix = f"no {', '.join(missing)}", "pass them by name; units='1' for a pure number"
        raise ModelInputError(message(got, ", ".join(_REQUIRED), fix, task="label an array"))
    array = values.detach().to("cpu", torch.bool if values.dtype == torch.bool else torch.float32).numpy()
    name = str(attrs["long_name"]).replace(" ", "_")
    given = dict(coords or {})
    own = coordinates(trace, *(dim for dim in dims if dim in _OF_TRACE and dim not in given))
    return xr.DataArray(array, dims=dims, coords=own | given, name=name, attrs=storable(attrs))
