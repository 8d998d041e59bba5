"""Labelled arrays that views draw when they are given a bare trace."""

import numpy as np
import torch
import xarray as xr

from lvlmscope.errors import ModelInputError, message
from lvlmscope.labels import coordinates
from lvlmscope.record import Trace

__all__ = ["focus_and_entropy", "image_attention"]


def image_attention(trace: Trace) -> xr.DataArray:
    """Share of attention on the image, mean over the answer's steps. Dims (layer, head).

    Raises:
        ModelInputError: No image keys.
    """
    _require_image(trace)
    values = trace.rows().image_mass.mean(0)
    attrs = {"long_name": "attention on the image, mean over words", "units": "1", "bounds": (0.0, 1.0)}
    return xr.DataArray(_array(values), dims=("layer", "head"), coords=coordinates(trace, "layer", "head"), attrs=attrs)


def focus_and_entropy(trace: Trace) -> xr.Dataset:
    """Image attention focus and layer image entropy for each word, mean over layers (and heads). Dim step.

    Raises:
        ModelInputError: No image keys.
    """
    _require_image(trace)
    rows = trace.rows()
    count = int(trace.image_keys.sum())
    focus = (_array(rows.image_mass.mean((1, 2))), {"long_name": "image attention focus", "units": "1"})
    entropy = (_array(rows.layer_image_entropy.nanmean(1)), {"long_name": "layer image entropy", "units": "nats"})
    variables = {name: ("step", *pair) for name, pair in {"focus": focus, "entropy": entropy}.items()}
    return xr.Dataset(variables, coords=coordinates(trace, "step"), attrs={"image_tokens": count})


def _array(values: torch.Tensor) -> np.ndarray:
    array: np.ndarray = values.float().numpy()
    return array


def _require_image(trace: Trace) -> None:
    if not bool(trace.image_keys.any()):
        received, todo = "a trace without image keys", "trace a prompt with an image"
        raise ModelInputError(message("draw image attention", received, "traces of a picture", todo))
