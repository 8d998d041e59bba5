"""Attention sinks: keys that draw attention whatever is being said; and rows read without them."""

from typing import Annotated, Any, Literal, get_args

import torch
import xarray as xr

from lvlmscope.attention.attention_rows import AttentionRows, at_least_float32
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import require_all_keys, require_image, require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["Sinks", "attention_sinks", "image_rows", "seen_keys", "sink_mask", "sinks_name", "without_keys"]

Sinks = Literal["keep", "exclude", "first_key"] | xr.DataArray


@checked
@task("find attention sinks")
def attention_sinks(
    trace: Trace, *, multiple: Annotated[float, Range(gt=1)] = 8.0, per: Literal["layer", "model"] = "layer"
) -> xr.DataArray:
    """Which keys are attention sinks, yes or no.

    `strength[l,j] = mean_{t,h} a[l,h,t,j] * visible[l,t]`, with `visible[l,t]` the number of keys in the window of row
    `t` in layer `l`, and the mean over the steps whose window holds key `j`: its attention as a multiple of its uniform
    share. A trace holds no masks: the window begins at the first key that any head gives weight. A prompt key is a sink
    of layer `l` where `strength > multiple`. Answer keys never are: not every row sees them. Averaging a key's
    attention over queries and comparing it with a threshold is the sink metric of arXiv 2410.10781 (which counts heads
    above 0.3); the multiple of uniform, the mean over heads, and reading predicting rows only are our reading.

    A patch that the whole answer is about looks like a sink, and in a short answer every patch may: look at which keys
    are found before leaving them out. A sink is also where a head rests, so excluding sinks shows where a head looks
    when it looks, and hides how seldom that is.

    Args:
        trace: A trace of all keys.
        multiple: How many times its uniform share a key must draw.
        per: `"layer"`: each layer for itself; `"model"`: by the mean over layers, alike for all.

    Returns:
        Dims (layer, key), bool; attrs hold `multiple` and `per`.

    Raises:
        ModelInputError: A multiple of 1 or less, an unknown option, or a trace that kept some keys only.

    Reference:
        arXiv 2410.10781, our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> attention_sinks(planted_trace(sink=0.5))[0].values.nonzero()[0].tolist()
    [0]
    """
    require_all_keys(trace)
    steps, keys = torch.arange(trace.num_steps).view(-1, 1, 1), torch.arange(len(trace.tokens))
    window = (seen_keys(trace).cumsum(-1) > 0) & (keys < trace.num_prompt_keys + steps)
    shares = at_least_float32(trace.attention).mean(2) * window.sum(-1, keepdim=True)
    strength = shares.sum(0) / window.sum(0)  # 0 / 0 where no window holds the key: NaN, never a sink
    if per == "model":
        strength = strength.nanmean(0, keepdim=True).expand_as(strength)
    found = (strength > multiple) & (keys < trace.num_prompt_keys)
    return labelled_array(
        trace,
        found,
        ("layer", "key"),
        long_name="attention sink",
        units="yes or no",
        bounds=(0, 1),
        reference="arXiv 2410.10781, our reading",
        multiple=multiple,
        per=per,
    )


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
    return torch.from_numpy(attention_sinks(trace).values)


def _is_named(sinks: Any) -> bool:
    return isinstance(sinks, str) and sinks in get_args(get_args(Sinks)[0])


def sinks_name(sinks: Sinks) -> str:
    """What the option says, for attrs: keep, exclude, first_key, or given."""
    return sinks if isinstance(sinks, str) else "given"


def without_keys(rows: AttentionRows, dropped: torch.Tensor) -> AttentionRows:
    """Rows renormalised over the keys that are left; NaN where all attention was on the others.

    Args:
        rows: Rows that sum to 1.
        dropped: bool `[..., key]`, broadcastable over the leading axes.

    Returns:
        New rows, in which the dropped keys are neither visible nor of the image.
    """
    left = rows.weights.masked_fill(dropped.unsqueeze(-2), 0.0)
    return rows.replace(
        weights=left / left.sum(-1, keepdim=True),
        image_keys=rows.image_keys & ~dropped,
        answer_keys=None if rows.answer_keys is None else rows.answer_keys & ~dropped,
        visible_keys=None if rows.visible_keys is None else rows.visible_keys & ~dropped,
    )


def image_rows(trace: Trace, sinks: Sinks = "keep") -> AttentionRows:
    """The rows of a trace with an image, sinks left out where that is wished.

    Args:
        sinks: As in `sink_mask`.

    Returns:
        Rows `[step, layer, head, key]`.

    Raises:
        ModelInputError: No image keys, or what `sink_mask` refuses.
    """
    require_image(trace)
    mask = sink_mask(trace, sinks)
    return without_keys(trace.rows(), mask) if bool(mask.any()) else trace.rows()
