"""Hallucinated words by cause: too few perception heads in shallow layers, too few reasoning heads in deep ones."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, get_args

import numpy as np
import xarray as xr

from lvlmscope.attention.functional_head_rule import HeadRule
from lvlmscope.diagnostics.perception_reasoning_heads import functional_head_share
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.ranking import Level, Resamples, estimate, weight_blocks
from lvlmscope.evaluation.sweep_tables import sweep_words
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.evaluation.word_table import paired
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens, at_words, defined_mean

__all__ = ["CAUSES", "Cause", "hallucination_causes"]

Cause = Literal["perception", "reasoning", "both", "neither"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)
_WORDS: Final = ("hallucinated", "grounded")
_TOLERANCE: Final = 1e-6  # equal shares differ by rounding
_Signal = Callable[[Trace], xr.DataArray]


@checked
@task("find causes of hallucination")
def hallucination_causes(
    traces: Iterable[Trace] | str | os.PathLike[str],
    labels: Iterable[Sequence[LabelledWord]] | None = None,
    *,
    rule: HeadRule | str | None = None,
    share: Annotated[float, Range(gt=0, le=1)] = 0.064,
    signals: tuple[str, str] | None = None,
    quantile: Annotated[float, Range(gt=0, lt=1)] = 0.1,
    tokens: Tokens = "first",
    resamples: Resamples = 1000,
    level: Level = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Object words by what their functional heads lack, hallucinated ones beside grounded ones.

    The paper of head rescaling (arXiv 2510.10285) counts perceptual bias in shallow layers (16 % of its cases),
    reasoning drift in deep ones (20 %) and both (10 %). How is not public; this is **our reading**, and its numbers are
    not comparable: at a word, `perception` is the share of perception heads over the layers that can hold them,
    `reasoning` that of reasoning heads (`functional_head_share`). A word has the cause perception where its share is
    below the `quantile` of grounded words, reasoning likewise, both, or neither: what the paper's gains above 1 would
    raise is then less than at nearly all grounded words.

    By this rule about a `quantile` of the grounded words have each cause, too. A cause explains hallucination where
    it is more frequent at hallucinated words.

    Args:
        traces: Traces of one model, or a sweep's folder.
        labels: The words of each trace, as `label_words` gives them; None for a sweep.
        rule: Which heads perceive and reason: a `HeadRule`, the name of a preset of the paper, or None for thresholds
            by `share` of each trace's own heads.
        share: Of the heads of all rows of a trace, half of it for each class; 0.064 is the paper's best. A model of few
            heads needs more: where most words have no such head, none can have fewer.
        signals: For a sweep, the names of the two signals that hold the shares, perception first. Register them with
            `@lv.signal` on functions that call `functional_head_share`.
        quantile: Of the grounded words' values, below which a share is too low.
        tokens: As for `aggregate`.
        resamples: Bootstrap draws over traces, with the two limits held.
        level: Share of the draws inside the interval.
        seed: Of the draws.

    Returns:
        Variables `share` with `low` and `high`, and `count`, over `word` (hallucinated, grounded) and `cause`; NaN
        where there is no such word. Words without a value of either share are left out. Attributes: the limits.

    Raises:
        EvaluationError: No grounded word with both values, so few functional heads that a `quantile` of the grounded
            words has none, labels with a sweep or none with traces, or a sweep without `signals`, or `signals` with
            traces.
        ModelInputError: As for `functional_head_share`, or an option of another type, out of range, or not among the
            choices.
    """
    if isinstance(traces, str | os.PathLike):
        values, wrong, trace = _of_sweep(traces, labels, rule, signals, tokens)
    else:
        values, wrong, trace = _of_traces(traces, labels, signals, tokens, {"share": share} | _chosen(rule))
    known = np.isfinite(values).all(1)
    values, wrong, trace = values[known], wrong[known], trace[known]
    if not (~wrong).any():
        got, fix = "no grounded word with both shares", "add images, or choose another rule"
        raise EvaluationError(message(got, "some, to compare with", fix))
    limits = np.quantile(values[~wrong], quantile, axis=0)
    _require_heads(limits, quantile)
    few = values < limits - _TOLERANCE
    inside = np.stack([few[:, 0] & ~few[:, 1], few[:, 1] & ~few[:, 0], few.all(1), ~few.any(1)], -1).astype(np.float64)
    cells = np.full((3, len(_WORDS), len(CAUSES)), np.nan)
    counts = np.stack([inside[wrong].sum(0), inside[~wrong].sum(0)]).astype(np.int64)
    for number, own in enumerate((wrong, ~wrong)):
        if own.any():
            cells[:, number] = _shares(inside, own, trace, resamples=resamples, level=level, seed=seed)
    dims = ("word", "cause")
    parts: dict[str, Any] = {name: (dims, part) for name, part in zip(("share", "low", "high"), cells, strict=True)}
    about = {"perception_below": float(limits[0]), "reasoning_below": float(limits[1])}
    return xr.Dataset(
        parts | {"count": (dims, counts)},
        coords={"word": list(_WORDS), "cause": list(CAUSES)},
        attrs=about | {"quantile": quantile, "level": level, "reference": "arXiv 2510.10285, our reading"},
    )


def _chosen(rule: HeadRule | str | None) -> dict[str, Any]:
    return {"preset": rule} if isinstance(rule, str) else {"rule": rule}


def _require_heads(limits: np.ndarray, quantile: float) -> None:
    """Refuses limits below which nothing can be."""
    if none := [name for name, limit in zip(("perception", "reasoning"), limits, strict=True) if limit <= 0]:
        got = f"{' and '.join(none)} heads at so few words that {quantile:g} of the grounded ones have none"
        expected, fix = "a limit above 0 for both", "raise share= or quantile=, or choose another rule"
        raise EvaluationError(message(got, expected, fix))


def _of_traces(
    traces: Iterable[Trace], labels: Any, signals: Any, tokens: Tokens, options: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two shares at every object word [word, 2], whether it is hallucinated, and its trace."""
    if labels is None or signals is not None:
        got = "traces without labels" if labels is None else "traces with signals="
        raise EvaluationError(message(got, "traces with labels alone", "pass what label_words gives, and no signals"))
    both: list[_Signal] = [partial(functional_head_share, of=of, **options) for of in ("perception", "reasoning")]
    values, wrong, numbers = [np.zeros((0, 2))], [], []
    for number, (trace, words) in enumerate(paired(traces, labels)):
        named = [word for word in words if word.label != "other" and word.steps]
        steps = [word.steps for word in named]
        if named:
            values.append(np.stack([at_words(one(trace), steps, tokens, keep_layers=False) for one in both], -1))
        wrong += [word.label == "hallucinated" for word in named]
        numbers += [number] * len(named)
    return np.concatenate(values), np.array(wrong, dtype=bool), np.array(numbers, dtype=np.int64)


def _of_sweep(
    folder: Any, labels: Any, rule: Any, signals: Any, tokens: Tokens
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if labels is not None or rule is not None or signals is None:
        expected = "a sweep's folder with signals=, without labels and rule"
        fix = "sweep signals that call functional_head_share, and name the two"
        raise EvaluationError(message("a sweep's folder with other options", expected, fix))
    table = sweep_words(folder, signals=list(signals), tokens=tokens)
    columns = [defined_mean(table.values[name], 1) for name in signals]
    return np.stack(columns, -1), table.hallucinated, table.trace


def _shares(
    inside: np.ndarray, own: np.ndarray, trace: np.ndarray, *, resamples: int, level: float, seed: int
) -> np.ndarray:
    """Share of the words with each cause, and its interval: [3, cause]."""
    groups = np.unique(trace, return_inverse=True)[1]
    draws = []
    for weights in weight_blocks(groups, resamples=resamples, seed=seed):
        counts = weights[:, own]
        total = counts.sum(1, keepdims=True)
        draws.append(np.divide(counts @ inside[own], total, out=np.full((len(counts), 4), np.nan), where=total > 0))
    found = [estimate(column, level) for column in np.concatenate(draws).T]
    return np.array([[one.value for one in found], [one.low for one in found], [one.high for one in found]])
