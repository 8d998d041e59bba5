"""Keys that draw attention whatever is being said, and the option that says which of them to leave out."""

from typing import Any, Final, Literal, get_args

import torch
import xarray as xr

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.errors import ModelInputError, ShapeError, message
from lvlmscope.traces.requirements import require_all_keys, require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["MULTIPLE", "Sinks", "seen_keys", "sink_keys", "sink_mask"]

Sinks = Literal["keep", "exclude", "first_key"] | xr.DataArray
MULTIPLE: Final = 8.0  # of its uniform share, above which a key is a sink unless the caller says otherwise


def sink_keys(trace: Trace, *, multiple: float = MULTIPLE, per: Literal["layer", "model"] = "layer") -> torch.Tensor:
    """Prompt keys whose attention is more than a multiple of their uniform share, as `attention_sinks` defines it.

    Args:
        trace: A trace of all keys.
        multiple: How many times its uniform share a key must draw.
        per: Each layer for itself, or by the mean over layers.

    Returns:
        bool `[layer, key]`.

    Raises:
        ModelInputError: A trace that kept some keys only.
    """
    require_all_keys(trace)
    steps, keys = torch.arange(trace.num_steps).view(-1, 1, 1), torch.arange(len(trace.tokens))
    window = (seen_keys(trace).cumsum(-1) > 0) & (keys < trace.num_prompt_keys + steps)
    shares = at_least_float32(trace.attention).mean(2) * window.sum(-1, keepdim=True)
    strength = shares.sum(0) / window.sum(0)  # 0 / 0 where no window holds the key: NaN, never a sink
    if per == "model":
        strength = strength.nanmean(0, keepdim=True).expand_as(strength)
    return (strength > multiple) & (keys < trace.num_prompt_keys)


def seen_keys(trace: Trace) -> torch.Tensor:
    """Keys that the row of each step sees in each layer: those to which at least one head gives weight.

    A trace holds no masks: keys outside a layer's window have weights of exactly 0 in all heads, and are told apart so.

    Args:
        trace: A trace of all keys.

    Returns:
        bool `[step, layer, key]`; NaN counts as seen.
    """
    return (trace.attention != 0).any(2)


def sink_mask(trace: Trace, sinks: Sinks) -> torch.Tensor:
    """Keys to leave out of each layer.

    Args:
        sinks: `"keep"` for none; `"exclude"` for those that `attention_sinks` finds by itself, or its result;
            `"first_key"` for key 0 alone.

    Returns:
        bool `[layer, key]`.

    Raises:
        ModelInputError: An unknown option, or a trace that kept some keys only.
        ShapeError: Sinks of another trace.
    """
    shape = (require_trace(trace).num_layers, len(trace.tokens))
    if isinstance(sinks, xr.DataArray):
        if set(sinks.dims) != {"layer", "key"} or sinks.transpose("layer", "key").shape != shape:
            got, expected = f"sinks {dict(sinks.sizes)}", f"layer {shape[0]}, key {shape[1]}"
            raise ShapeError(message(got, expected, "take attention_sinks of this trace"))
        require_all_keys(trace)
        return torch.from_numpy(sinks.transpose("layer", "key").values.astype(bool))
    if not _is_named(sinks):
        expected = "keep, exclude, first_key, or a result of attention_sinks"
        raise ModelInputError(message(f"sinks={sinks!r}"[:80], expected, "choose one"))
    if sinks == "keep":
        return torch.zeros(shape, dtype=torch.bool)
    if sinks == "first_key":
        require_all_keys(trace)
        return (torch.arange(shape[1]) == 0).expand(shape)
    return sink_keys(trace)


def _is_named(sinks: Any) -> bool:
    return isinstance(sinks, str) and sinks in get_args(get_args(Sinks)[0])
