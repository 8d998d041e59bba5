"""A signal's values at words: at the first token of each, or the mean over its tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ShapeError, message

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace
    from lvlmscope.traces.words import Word

__all__ = ["Tokens", "at_words", "defined_mean", "per_word"]


Tokens = Literal["first", "mean"]


def at_words(array: xr.DataArray, steps: Sequence[tuple[int, ...]], tokens: Tokens) -> np.ndarray:
    """The signal's values at words.

    Args:
        array: Dims among layer, head, step; heads are averaged.
        steps: The steps of each word.
        tokens: `"first"`: at the token that decided on the word; `"mean"`: over all its tokens.

    Returns:
        float64 [word, layer], one layer for a signal without layers. NaN where the signal has no value.
    """
    if "head" in array.dims:
        array = array.mean("head")
    layered = array if "layer" in array.dims else array.expand_dims("layer")
    values = layered.transpose("step", "layer").to_numpy().astype(np.float64)
    rows = [values[list(word)].mean(0) if tokens == "mean" else values[word[0]] for word in steps]
    return np.array(rows).reshape(len(rows), values.shape[1])


def per_word(trace: "Trace", words: "Sequence[Word]", signal: Any) -> np.ndarray:
    """A signal for each word: the mean over its tokens, layers and heads.

    Args:
        trace: Where the words come from.
        words: Which.
        signal: A labelled array with a step axis.

    Returns:
        ``[word]``, NaN where nothing is defined.

    Raises:
        ShapeError: No step axis, or another answer's.
    """
    if not isinstance(signal, xr.DataArray) or signal.sizes.get("step") != trace.num_steps:
        got = f"dims {dict(signal.sizes)}" if isinstance(signal, xr.DataArray) else type(signal).__name__
        expected = f"a labelled array with {trace.num_steps} steps"
        raise ShapeError(message(got, expected, "take a signal of this trace", task="draw a timeline"))
    others = [dim for dim in signal.dims if dim != "step"]
    steps = signal.mean(others).to_numpy() if others else signal.to_numpy()
    values = [steps[list(word.steps)] for word in words]
    return np.array([v[np.isfinite(v)].mean() if np.isfinite(v).any() else np.nan for v in values])


def defined_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the defined values along an axis; NaN where there are none.

    Args:
        values: Numbers; NaN and infinite ones are left out.
        axis: Axis to average over.

    >>> defined_mean(np.array([[1.0, np.nan], [3.0, np.nan]]), 0).tolist()
    [2.0, nan]
    """
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis, dtype=np.float64)
    mean: np.ndarray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
