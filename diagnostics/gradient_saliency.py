"""Gradient x attention saliency: how much each key, through attention, moved the loss of each generated token."""

from typing import Literal

import torch
import xarray as xr

from lvlmscope.attention.gradient_times_attention import head_saliency, normalised_rows
from lvlmscope.diagnostics.sinks import Sinks, sink_mask, sinks_name
from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import required_part
from lvlmscope.traces.trace import Trace

__all__ = ["saliency", "saliency_rows"]


@checked
@task("measure saliency")
def saliency(
    trace: Trace, *, heads: Literal["mean", "each"] = "mean", normalise: bool = True, sinks: Sinks = "keep"
) -> xr.DataArray:
    """Saliency of every key for every generated token, a share of the row's norm, in [0, 1].

    `S[l,h,t,j] = |a[l,h,t,j] * d loss_t / d a[l,h,t,j]|` with `loss_t = -ln p(token_t | before)`, attention free after
    the softmax; then the mean over heads, then each row is divided by its L2 norm over keys, at least 1e-9.

    A normalised row says *where* the token's loss is sensitive, not how much: a row of the last layers is as long as
    one of the first. It is a slope at one place: a head that is saturated, or two that cancel, can look unimportant.
    In a trace that kept the keys of image and answer only, the norm is over these.

    Args:
        trace: A trace made with `gradients=True`.
        heads: `"each"` keeps the heads, each row of each head normalised for itself.
        normalise: False leaves the rows in nats.
        sinks: `"exclude"` sets the keys that `attention_sinks` finds to 0 before the row is normalised; or its result.

    Returns:
        Dims (layer, step, key), or (layer, head, step, key).

    Raises:
        ModelInputError: A trace without gradients, an unknown option, or sinks of a trace that kept some keys only.

    Reference:
        arXiv 2601.20279, eq. 1-5 and App. A; the floor of the norm from the released code.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> saliency(planted_trace(salient=7))[0, 0].argmax("key").item()
    7
    """
    values = saliency_rows(trace, heads=heads, normalise=normalise, sinks=sinks)
    mean = heads == "mean"
    return labelled_array(
        trace,
        values.permute(1, 0, 2) if mean else values.permute(1, 2, 0, 3),
        ("layer", "step", "key") if mean else ("layer", "head", "step", "key"),
        long_name="saliency",
        units="1" if normalise else "nats",
        bounds=(0.0, 1.0 if normalise else None),
        reference="arXiv 2601.20279 eq. 1-5",
        normalise=normalise,
        sinks=sinks_name(sinks),
    )


def saliency_rows(
    trace: Trace,
    *,
    heads: Literal["mean", "each"] = "mean",
    normalise: bool = True,
    sinks: Sinks = "keep",
) -> torch.Tensor:
    """Saliency as a tensor, for everything that is read from it.

    Args:
        trace: A trace made with `gradients=True`.
        heads: As in `saliency`.
        normalise: As in `saliency`.
        sinks: As in `saliency`.

    Returns:
        `[step, layer, key]`, or `[step, layer, head, key]`.

    Raises:
        ModelInputError: As `saliency`.
    """
    gradient = required_part(trace, "gradient")
    values = head_saliency(trace.attention, gradient)
    values = values.masked_fill(sink_mask(trace, sinks).unsqueeze(1), 0.0)
    if heads == "mean":
        values = values.mean(2)
    return normalised_rows(values) if normalise else values
