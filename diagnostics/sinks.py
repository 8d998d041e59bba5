"""Attention sinks: keys that draw attention whatever is being said; and rows read without them."""

from typing import Annotated, Literal

import torch
import xarray as xr

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.sink_keys import MULTIPLE, Sinks, sink_keys, sink_mask
from lvlmscope.traces.trace import Trace

__all__ = ["Sinks", "attention_sinks", "image_rows", "sink_mask", "sinks_name", "without_keys"]


@checked
@task("find attention sinks")
def attention_sinks(
    trace: Trace, *, multiple: Annotated[float, Range(gt=1)] = MULTIPLE, per: Literal["layer", "model"] = "layer"
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
    found = sink_keys(trace, multiple=multiple, per=per)
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
