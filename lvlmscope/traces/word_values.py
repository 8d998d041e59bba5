"""A signal's values at words: at the first token of each, or the mean over its tokens."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, message

__all__ = ["Tokens", "at_words", "defined_mean", "values_at", "word_steps"]

Tokens = Literal["first", "mean"]
_TOKENS: Final = get_args(Tokens)


def at_words(
    signal: xr.DataArray, words: Sequence[Sequence[int]], tokens: Tokens, *, keep_layers: bool = True
) -> np.ndarray:
    """The signal's values at words; undefined values are left out of every mean.

    Args:
        signal: Has a step axis; axes other than step (and layer) are averaged over.
        words: The steps of each word.
        tokens: `"first"`: at the token that decided on the word; `"mean"`: over all its tokens.
        keep_layers: Whether layers stay apart; else they are averaged over as the other axes are.

    Returns:
        float64 ``[word, layer]``, one layer for a signal without layers; ``[word]`` with `keep_layers=False`. NaN where
        the signal has no value.

    Raises:
        ModelInputError: Another value of `tokens`.

    Examples:
        >>> signal = xr.DataArray([[0.5, 0.1], [np.nan, 0.2], [0.7, 0.3]], dims=("step", "layer"))
        >>> at_words(signal, [(0, 1), (2,)], "mean").tolist()
        [[0.5, 0.15], [0.7, 0.3]]
        >>> at_words(signal, [(0, 1), (2,)], "first", keep_layers=False).tolist()
        [0.3, 0.5]
    """
    kept = ["step", "layer"] if keep_layers and "layer" in signal.dims else ["step"]
    others = [dim for dim in signal.dims if dim not in kept]
    mean = signal.mean(others) if others else signal
    values = mean.transpose(*kept).to_numpy().astype(np.float64).reshape(signal.sizes["step"], -1)
    rows = values_at(values, words, tokens)
    return rows if keep_layers else rows[:, 0]


def values_at(values: np.ndarray, words: Sequence[Sequence[int]], tokens: Tokens) -> np.ndarray:
    """Values of steps at words; undefined ones are left out of the mean.

    Args:
        values: Numbers ``[step, column]``.
        words: The steps of each word.
        tokens: As in `at_words`.

    Returns:
        float64 ``[word, column]``.

    Raises:
        ModelInputError: Another value of `tokens`.

    >>> values_at(np.array([[0.5], [np.inf], [0.7]]), [(0, 2), (1,)], "mean").tolist()
    [[0.6], [nan]]
    """
    chosen = [word_steps(steps, tokens) for steps in words]
    if all(len(steps) == 1 for steps in chosen):
        single = values[[steps[0] for steps in chosen]].astype(np.float64)
        return np.where(np.isfinite(single), single, np.nan)
    return np.array([defined_mean(values[steps], 0) for steps in chosen]).reshape(len(words), values.shape[1])


def word_steps(steps: Sequence[int], tokens: Tokens) -> list[int]:
    """The steps of a word at which a signal is read.

    Args:
        steps: All steps of the word.
        tokens: `"first"` or `"mean"`.

    Raises:
        ModelInputError: Another value of `tokens`.

    Examples:
        >>> word_steps((3, 4), "first"), word_steps((3, 4), "mean")
        ([3], [3, 4])
    """
    if tokens not in _TOKENS:
        raise ModelInputError(message(f"tokens={tokens!r}", "'first' or 'mean'", "choose one of them"))
    return list(steps[:1] if tokens == "first" else steps)


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
