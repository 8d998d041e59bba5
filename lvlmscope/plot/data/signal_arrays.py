"""The labelled arrays that views draw: a trace's attention on the image, matrices of two axes, means of words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.plot.data.aggregates import mean_of, over_traces
from lvlmscope.plot.data.unit_labels import counted, quantity
from lvlmscope.traces.labelled_arrays import coordinates
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import at_words
from lvlmscope.traces.words import Word

__all__ = ["axis_numbers", "head_image_attention", "layer_by_head", "matrix_of", "over_other_axes", "word_means"]


@task("draw attention on the image")
def head_image_attention(trace: Trace) -> xr.DataArray:
    """Each head's share of attention on the image for each step; dims (step, layer, head).

    Raises:
        ModelInputError: No image keys.
    """
    require_image(trace)
    dims = ("step", "layer", "head")
    attrs = {"long_name": "attention on the image", "units": "1", "bounds": (0.0, 1.0)}
    return xr.DataArray(
        trace.rows().image_mass.numpy(), dims=dims, coords=coordinates(trace, *dims), name="image_mass", attrs=attrs
    )


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
    if isinstance(signal, Trace):
        signal = head_image_attention(signal)
    if not isinstance(signal, xr.DataArray | xr.Dataset):
        got, expected = type(signal).__name__, "a trace, or an xarray.DataArray with dims layer and head"
        raise ModelInputError(message(got, expected, "pass what a diagnostic returns"))
    return matrix_of(signal, ("layer", "head"))


def matrix_of(signal: Any, dims: tuple[str, str]) -> tuple[xr.DataArray, str]:
    """A signal as a matrix, other axes averaged over.

    Args:
        signal: A labelled array, or what `aggregate` gives.
        dims: Of the rows and of the columns.

    Returns:
        The matrix, and what was averaged, in words.

    Raises:
        ShapeError: No such axes, an empty one, or an axis of names of which none is chosen.
    """
    if isinstance(signal, xr.Dataset):
        return mean_of(signal, dims=dims), over_traces(signal)
    if not isinstance(signal, xr.DataArray) or not set(dims) <= set(signal.dims) or 0 in signal.shape:
        got = f"dims {dict(signal.sizes)}" if isinstance(signal, xr.DataArray) else type(signal).__name__
        expected = f"a labelled array with dims {dims[0]} and {dims[1]}, none empty"
        raise ShapeError(message(got, expected, "pass what a diagnostic returns for a trace with at least one step"))
    _require_chosen(signal)
    others = [str(dim) for dim in signal.dims if dim not in dims]
    named = quantity(signal)
    flat = named.mean(others, keep_attrs=True) if others else named
    return flat.transpose(*dims), over_other_axes(signal, others, joined=", ")


def axis_numbers(values: xr.DataArray, dim: str) -> list[int]:
    """The numbers along an axis: its coordinate, else counted from 0."""
    return [int(n) for n in values.coords[dim]] if dim in values.coords else list(range(values.sizes[dim]))


def over_other_axes(signal: xr.DataArray, dims: Sequence[str], *, joined: str) -> str:
    """What a mean is over, in words; empty for no axes.

    Args:
        signal: Before the mean.
        dims: The axes of the mean.
        joined: Stands between them.

    Examples:
        >>> over_other_axes(xr.DataArray(np.zeros((3, 1)), dims=("step", "head")), ["step", "head"], joined=" and ")
        'mean over 3 steps and 1 head'
    """
    return f"mean over {joined.join(counted(signal.sizes[dim], dim) for dim in dims)}" if dims else ""


def word_means(trace: Trace, words: Sequence[Word], signal: Any) -> np.ndarray:
    """A signal for each word: the mean over its tokens, layers and heads ``[word]``; NaN where nothing is defined.

    Args:
        trace: Where the words come from.
        words: The words to read.
        signal: A labelled array with a step axis.

    Raises:
        ShapeError: No step axis, another answer's, or an axis of names of which none is chosen.
    """
    if not isinstance(signal, xr.DataArray) or signal.sizes.get("step") != trace.num_steps:
        got = f"dims {dict(signal.sizes)}" if isinstance(signal, xr.DataArray) else type(signal).__name__
        expected = f"a labelled array with {trace.num_steps} steps"
        raise ShapeError(message(got, expected, "take a signal of this trace"))
    _require_chosen(signal)
    return at_words(signal, [word.steps for word in words], "mean", keep_layers=False)


def _require_chosen(signal: xr.DataArray) -> None:
    """Refuses an axis of names, such as `measure`: a mean over different quantities is none."""
    for dim in signal.dims:
        if dim in signal.coords and signal.coords[dim].dtype.kind in "OU":
            names = [str(name) for name in signal.coords[dim].values]
            got, fix = f"an axis {dim!r} of {', '.join(names)}", f"choose one with .sel({dim}={names[-1]!r})"
            raise ShapeError(message(got, "an axis of numbers", fix))
