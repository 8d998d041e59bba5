"""The labelled arrays that views draw when they are given a trace, and the colour scale an array is drawn on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.plot.data.aggregates import mean_of, over_traces
from lvlmscope.traces.labelled_arrays import coordinates
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.trace import Trace

__all__ = ["head_image_attention", "layer_by_head", "name_of", "patch_attention"]


@task("draw attention on the image")
def head_image_attention(trace: Trace, steps: slice = slice(None)) -> xr.DataArray:
    """Each head's share of attention on the image for each step; dims (step, layer, head).

    Args:
        trace: A trace with image keys.
        steps: Which steps.

    Raises:
        ModelInputError: No image keys.
    """
    require_image(trace)
    dims = ("step", "layer", "head")
    attrs = {"long_name": "attention on the image", "units": "1", "bounds": (0.0, 1.0)}
    whole = xr.DataArray(
        trace.rows().image_mass.numpy(), dims=dims, coords=coordinates(trace, *dims), name="image_mass", attrs=attrs
    )
    return whole.isel(step=steps)


def layer_by_head(signal: Any) -> tuple[xr.DataArray, str]:
    """A signal as a map of layers and heads, other axes averaged over.

    Args:
        signal: A trace (its attention on the image), a labelled array with dims layer and head, or what `aggregate`
            gives.

    Returns:
        Dims (layer, head), and what was averaged, in words.

    Raises:
        ShapeError: No such axes, or an empty one.
        ModelInputError: Neither a trace nor a labelled array.
    """
    if isinstance(signal, xr.Dataset):
        return mean_of(signal, dims=("layer", "head")), over_traces(signal)
    if isinstance(signal, Trace):
        signal = head_image_attention(signal)
    if not isinstance(signal, xr.DataArray):
        got, expected = type(signal).__name__, "a trace, or an xarray.DataArray with dims layer and head"
        raise ModelInputError(message(got, expected, "pass what a diagnostic returns"))
    if not {"layer", "head"} <= set(signal.dims) or 0 in signal.shape:
        got = f"dims {dict(signal.sizes)}"
        fix = "choose a signal per layer and head, of a trace with at least one step"
        raise ShapeError(message(got, "dims layer and head, none empty", fix))
    others = [str(dim) for dim in signal.dims if dim not in {"layer", "head"}]
    told = ", ".join(f"{signal.sizes[dim]} {dim}{'s' if signal.sizes[dim] > 1 else ''}" for dim in others)
    flat = signal.mean(others, keep_attrs=True) if others else signal
    return flat.transpose("layer", "head"), f"mean over {told}" if told else ""


def name_of(values: xr.DataArray) -> str:
    """What an array holds, in words: its `long_name`, else its name."""
    return str(values.attrs.get("long_name") or ("value" if values.name is None else values.name))


@task("average attention")
def patch_attention(
    trace: Trace, steps: Sequence[int], layers: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> np.ndarray:
    """Attention on every key, averaged over steps, layers and heads; ``[key]``, shares of 1.

    Args:
        trace: A trace.
        steps: Which steps.
        layers: Decoder layer numbers, negative ones count from the end; None for all.
        heads: Query head numbers; None for all.

    Raises:
        ModelInputError: No steps, or a layer or head that the trace does not have.
    """
    fix = "choose among these"
    if layers:
        depth = max(trace.layer_indices) + 1
        layers = [layer + depth if -depth <= layer < 0 else layer for layer in layers]
    unknown = sorted(set(layers or ()) - set(trace.layer_indices))
    if unknown or not steps or (layers is not None and not layers):
        got = f"layers {unknown}" if unknown else f"{len(steps)} steps and layers {layers}"
        expected = f"one step or more, layers {trace.layer_indices[0]} to {trace.layer_indices[-1]}"
        raise ModelInputError(message(got, expected, fix))
    if heads is not None and (not len(heads) or not set(heads) <= set(range(trace.num_heads))):
        got, expected = f"heads {list(heads)}", f"heads 0 to {trace.num_heads - 1}"
        raise ModelInputError(message(got, expected, fix))
    chosen = [n for n, number in enumerate(trace.layer_indices) if layers is None or number in layers]
    rows = trace.attention[list(steps)][:, chosen]
    chosen_heads = rows if heads is None else rows[:, :, list(heads)]
    mean: np.ndarray = chosen_heads.mean(dim=(0, 1, 2), dtype=torch.float32).numpy()
    return mean
