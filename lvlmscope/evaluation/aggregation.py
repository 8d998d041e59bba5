"""A signal over many traces: mean, spread, count and interval by layer, head and class of word."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_function, require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.ranking import Level, Resamples, estimate, weight_blocks
from lvlmscope.evaluation.signal_readings import GROUPS, OF_WORDS, Axis, readings_of, sums_of
from lvlmscope.evaluation.signal_registry import signal_named
from lvlmscope.evaluation.sweep_aggregation import sweep_sums
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.evaluation.word_table import paired
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.requirements import require_traces
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens

__all__ = ["Axis", "aggregate"]


@checked
@task("aggregate a signal")
def aggregate(
    traces: Iterable[Trace] | str | os.PathLike[str],
    signal: str | Callable[[Trace], xr.DataArray],
    *,
    by: Axis | Sequence[Axis] = ("layer",),
    labels: Iterable[Sequence[LabelledWord]] | None = None,
    tokens: Tokens = "first",
    resamples: Resamples = 1000,
    level: Level = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Mean, spread, count and confidence interval of a signal over many traces.

    One reading is one generated token, or one word when `by` holds `"word"` or `"category"`; a signal without steps
    gives one reading a trace. Layers and heads that are not asked for are averaged within a reading. Readings of one
    trace depend on each other, so the interval is a bootstrap over traces, not over tokens. A sweep holds words and has
    averaged over heads: one reading is one word of it, and `"head"` is no axis.

    Args:
        traces: Traces of one model, a generator too; those of different prompts are pooled, so give those of one
            prompt where it matters. Or a sweep's folder, read one batch of rows after the other.
        signal: A name that `lvlmscope signals` lists, or any function from a trace to an array with dims among layer,
            head, step, and others of its own, which are kept.
        by: Axes of the result: `"layer"`, `"head"`, `"word"` (grounded, hallucinated, other), `"category"` (the object
            that a word names; other words are left out), `"span"` (thinking, answer, marker: see `Trace.spans`).
        labels: The words of each trace as `label_words` gives them; needed for `"word"` and `"category"`. None for a
            sweep, which has labelled its own.
        tokens: Which tokens of a word are read: the `"first"`, or the `"mean"` over all.
        resamples: Bootstrap draws.
        level: Share of the draws inside the interval.
        seed: Of the draws.

    Returns:
        Variables `mean`, `spread` (standard deviation of readings), `count` (readings), `traces`, `low`, `high` over
        `by` and the signal's own dims. NaN where there is no reading; NaN readings are left out. Intervals from
        fewer than ten traces are too narrow, and figures say so.

    Raises:
        EvaluationError: No traces, an axis that the signal does not have, words without labels, traces whose spans are
            not known or whose signals differ in shape, or a sweep that does not hold what is asked for.
        ModelInputError: An option of another type, out of range, or not among the choices.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> found = aggregate([planted_trace(mass=0.2), planted_trace(mass=0.6)], "image_attention_focus", by="layer")
    >>> found["mean"].values.round(2).tolist(), found["count"].values.tolist()
    ([0.4, 0.4], [6, 6])
    """
    axes: tuple[Axis, ...] = (by,) if isinstance(by, str) else tuple(by)
    if isinstance(traces, str | os.PathLike):
        if labels is not None:
            fix = "leave them out: a sweep holds its own"
            raise EvaluationError(message("a sweep's folder with labels", "a sweep's folder alone", fix))
        parts, attrs = sweep_sums(traces, signal, axes, tokens)
    else:
        whole, attrs = _trace_sums(traces, _checked(signal, axes, labels), axes, labels, tokens)
        parts = iter([whole])
    found = [_statistics(part, resamples=resamples, level=level, seed=seed) for part in parts]
    result = found[0] if len(found) == 1 else xr.concat(found, "category")
    about = {name: attrs[name] for name in ("long_name", "units", "bounds", "reference") if name in attrs}
    return result.assign_attrs(**about, level=level, interval="bootstrap over traces")


def _trace_sums(
    traces: Iterable[Trace],
    compute: Callable[[Trace], xr.DataArray],
    axes: tuple[Axis, ...],
    labels: Iterable[Sequence[LabelledWord]] | None,
    tokens: Tokens,
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Sums of each trace, and the signal's attributes."""
    sums: list[xr.Dataset] = []
    pairs = ((trace, None) for trace in require_traces(traces)) if labels is None else paired(traces, labels)
    example: xr.DataArray | None = None
    for trace, words in pairs:
        example = compute(trace)
        require_kind("what signal gives", example, xr.DataArray, "a labelled array")
        sums.append(
            sums_of(readings_of(example, trace, axes, words, tokens), [name for name in GROUPS if name in axes])
        )
        one, other = ({**each["total"].sizes, "category": 0} for each in (sums[0], sums[-1]))
        if one != other:
            got = f"shapes {sums[0]['total'].shape} and {sums[-1]['total'].shape}"
            raise EvaluationError(message(got, "traces of one model", "give one model's traces"))
    if example is None:
        raise EvaluationError(message("no traces", "at least one trace", "give some"))
    whole = xr.concat(sums, "trace", join="outer", fill_value=0)
    if 0 in whole["total"].shape:
        raise EvaluationError(message("no word that names an object", "labels with such words", "pass label_words'"))
    return whole.sortby("category") if "category" in axes else whole, example.attrs


def _checked(signal: Any, axes: tuple[Axis, ...], labels: Any) -> Callable[[Trace], xr.DataArray]:
    if not isinstance(signal, str) and not callable(signal):
        fix = "give one of these"
        raise EvaluationError(message(type(signal).__name__, "a signal's name, or a function of a trace", fix))
    found = signal_named(signal) if isinstance(signal, str) else None
    if any(name in axes for name in OF_WORDS) != (labels is not None):
        got = f"by={axes} without labels" if labels is None else f"labels, and by={axes} without 'word' or 'category'"
        raise EvaluationError(message(got, "labels together with 'word' or 'category'", "give both or neither"))
    if found is None:
        require_function("signal", signal, "a signal's name, or a function of a trace")
        function: Callable[[Trace], xr.DataArray] = signal
        return function
    if "model" in found.needs:
        got, fix = f"{found.name}, which needs the model", f"pass lambda trace: {found.name}(trace, model)"
        raise EvaluationError(message(got, "signals of a trace alone", fix))
    return found.read


def _statistics(sums: xr.Dataset, *, resamples: int, level: float, seed: int) -> xr.Dataset:
    whole = sums.sum("trace")
    count = whole["count"]
    mean = whole["total"] / count.where(count > 0)
    variance = (whole["squares"] - count * mean**2) / (count - 1).where(count > 1)
    low, high = xr.full_like(mean, np.nan), xr.full_like(mean, np.nan)
    if sums.sizes["trace"] > 1:
        means = [mean.to_numpy().reshape(1, -1)]
        for number, weights in enumerate(weight_blocks(np.arange(sums.sizes["trace"]), resamples=resamples, seed=seed)):
            drawn = xr.DataArray(weights if number else weights[1:], dims=("draw", "trace"))
            total, counted = drawn.dot(sums["total"], "trace"), drawn.dot(sums["count"], "trace")
            block = (total / counted.where(counted > 0)).transpose("draw", *mean.dims).to_numpy()
            means.append(block.reshape(len(block), -1))
        found = [estimate(cell, level) for cell in np.vstack(means).T]
        low = mean.copy(data=np.array([one.low for one in found]).reshape(mean.shape))
        high = mean.copy(data=np.array([one.high for one in found]).reshape(mean.shape))
    spread = np.sqrt(variance.clip(min=0))
    traces = (sums["count"] > 0).sum("trace")
    parts = {"mean": mean, "spread": spread, "count": count, "traces": traces, "low": low, "high": high}
    return xr.Dataset(parts)
