"""Labels of a trace's axes, and the trace as a labelled dataset."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import xarray as xr

from lvlmscope.errors import ModelInputError, message
from lvlmscope.traces.array_attributes import storable

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["coordinates", "dataset", "labelled_array", "positions_alone"]


def coordinates(trace: "Trace", *dims: str) -> dict[str, Any]:
    """Coordinates for the named dims: numbers, and token texts and kinds along step and key.

    Args:
        trace: Where the labels come from.
        *dims: Any of "step", "layer", "head", "key".

    Returns:
        What ``xarray.DataArray(coords=...)`` takes.
    """
    return {name: value for dim in dims for name, value in _along(trace, dim).items()}


def _along(trace: "Trace", dim: str) -> dict[str, Any]:
    if dim == "step":
        spans = {} if trace.spans is None else {"span": ("step", np.array(trace.spans, dtype=object))}
        tokens = ("step", np.array(trace.answer_tokens, dtype=object))
        return {"step": np.arange(trace.num_steps), "token": tokens, **spans}
    if dim == "layer":
        return {"layer": np.array(trace.layer_indices)}
    if dim == "head":
        return {"head": np.arange(trace.num_heads)}
    return {
        "key": np.arange(len(trace.tokens)),
        "key_token": ("key", np.array(trace.tokens, dtype=object)),
        "key_kind": ("key", np.array(trace.layout.kinds, dtype=object)),
    }


def dataset(trace: "Trace") -> xr.Dataset:
    """All tensors of a trace as one dataset.

    Args:
        trace: What to label.

    Returns:
        Variables attention, log_probs, entropy, margin, answer_ids, image_keys, top_ids, top_log_probs; gradient,
        hidden_states, image_scores, and mixed_log_probs with its top_ids and top_log_probs, where kept.
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
        "mixed_log_probs": ("step",),
        "mixed_top_ids": ("step", "rank"),
        "mixed_top_log_probs": ("step", "rank"),
    }
    nats = ("log_probs", "entropy", "margin", "top_log_probs", "mixed_log_probs", "mixed_top_log_probs")
    units = dict.fromkeys(nats, "nats") | {"attention": "1"}
    variables = {
        name: xr.Variable(axes, getattr(trace, name).numpy(), {"units": units[name]} if name in units else {})
        for name, axes in dims.items()
        if getattr(trace, name) is not None
    }
    attrs = {"prompt": trace.prompt, "answer": trace.answer}
    return xr.Dataset(variables, coords=coordinates(trace, *four), attrs=attrs)


_OF_TRACE: Final = ("step", "layer", "head", "key")
_POSITIONS: Final[ContextVar[bool]] = ContextVar("positions_alone", default=False)
_REQUIRED: Final = ("long_name", "units", "bounds", "reference")


@contextmanager
def positions_alone() -> Iterator[None]:
    """Let labelled arrays that are made inside do without the trace's coordinates, which take longer than most numbers.

    Yields:
        Nothing.

    Examples:
        >>> from lvlmscope.diagnostics import layer_image_entropy, planted_trace
        >>> with positions_alone():
        ...     found = layer_image_entropy(planted_trace())
        >>> found.dims, list(found.coords)
        (('layer', 'step'), [])
    """
    token = _POSITIONS.set(True)
    try:
        yield
    finally:
        _POSITIONS.reset(token)


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
    named = () if _POSITIONS.get() else (dim for dim in dims if dim in _OF_TRACE and dim not in given)
    own = coordinates(trace, *named)
    return xr.DataArray(array, dims=dims, coords=own | given, name=name, attrs=storable(attrs))
