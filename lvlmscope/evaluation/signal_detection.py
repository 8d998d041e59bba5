"""How well each signal, and all together, tell hallucinated object words from grounded ones."""

import os
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import numpy as np
import xarray as xr

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.cross_validation import Chosen, best_layer_scores, combined_scores, fold_of
from lvlmscope.evaluation.detector_table import Detection, Detector
from lvlmscope.evaluation.metrics.ranking import (
    Estimate,
    Level,
    Resamples,
    auroc,
    average_precision,
    estimate,
    resampled_weights,
)
from lvlmscope.evaluation.sweep_tables import sweep_words
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.evaluation.word_table import WordTable, read_words
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens

__all__ = ["detect", "score_signals"]

# The combinations: the bar to beat; attention, gradients and hidden states; both; with what the image tokens spell
BAR: Final = "all confidence signals"
INNER: Final = "all attention, gradient and hidden signals"
BOTH: Final = "those and confidence"
ALL: Final = "all signals"
Folds = Annotated[int, Range(ge=2)]


@checked
def score_signals(
    traces: Iterable[Trace] | str | os.PathLike[str],
    labels: Iterable[Sequence[LabelledWord]] | None = None,
    *,
    signals: Sequence[str] | None = None,
    tokens: Tokens = "first",
    model: Any = None,
    folds: Folds = 5,
    resamples: Resamples = 1000,
    level: Level = 0.95,
    seed: int = 0,
) -> Detection:
    """How well each signal finds hallucinated object words: AUROC and average precision, with bootstrap intervals.

    Everything is grouped by trace: the words of one answer are never in training and test together, and the bootstrap
    draws whole traces. **A signal's best single number is chosen without the words that it is tested on:** in each fold
    the layer whose AUROC over the other folds' words is farthest from 0.5, and its direction, are taken, the values
    become quantiles among those words, and the folds' scores are judged together. The combinations are logistic
    regressions on all layers of their signals, standardised, fitted and given their regularisation inside the training
    folds. The tables by layer are descriptive: with that many layers some differ from 0.5 by chance.

    Args:
        traces: Traces of one model, a generator too: each is read once and let go. Or a sweep's folder, of which only
            the labelled words and the signals' columns are read.
        labels: The words of each trace, as `label_words` gives them; None for a sweep, which has labelled its own.
        signals: Names that `lvlmscope signals` lists; None for all that the traces allow.
        tokens: Read at the `"first"` token of a word, which decided on it, or the `"mean"` over all its tokens.
        model: The model, for signals that run it once more; without it they are left out.
        folds: Number of folds.
        resamples: Bootstrap draws; the fitted probes are kept, so that the intervals tell of the sample of traces.
        level: Share of the draws inside the intervals.
        seed: Of folds and draws.

    Returns:
        One row for each signal, then the combinations, with a table by layer beside them.

    Raises:
        EvaluationError: Lengths that differ, no object words, or too few grounded or hallucinated words for the folds.
        ModelInputError: An option of another type, out of range, or not among the choices.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> from lvlmscope.evaluation import Vocabulary, label_words
    >>> traces = [planted_trace(mass=0.3 + 0.04 * n, sink=0.0) for n in range(10)]
    >>> words = Vocabulary({"dog": ["word1"]})
    >>> labels = [label_words(t, {"dog"} if n >= 5 else (), words) for n, t in enumerate(traces)]
    >>> found = score_signals(traces, labels, signals=["image_attention_focus"], resamples=100)
    >>> found["image_attention_focus"].auroc.value, found["image_attention_focus"].direction
    (1.0, 'lower')
    """
    if isinstance(traces, str | os.PathLike):
        if labels is not None or model is not None:
            got = "a sweep's folder with " + ("labels" if labels is not None else "a model")
            fix = "leave them out: a sweep holds labels and signals"
            raise EvaluationError(message(got, "a sweep's folder alone", fix, task="score signals"))
        table = sweep_words(traces, signals=signals, tokens=tokens)
    elif labels is None:
        got, fix = "traces without labels", "pass what label_words gives"
        raise EvaluationError(message(got, "the words of each trace", fix, task="score signals"))
    else:
        table = read_words(traces, labels, signals=signals, tokens=tokens, model=model)
    found = detect(table, folds=folds, resamples=resamples, level=level, seed=seed)
    found.settings["tokens"] = tokens
    return found


@checked
def detect(
    table: WordTable, *, folds: Folds = 5, resamples: Resamples = 1000, level: Level = 0.95, seed: int = 0
) -> Detection:
    """`score_signals` from a table of words that `read_words` made.

    Args:
        table: Words with their signals.
        folds: Number of folds.
        resamples: Bootstrap draws.
        level: Share of the draws inside the intervals.
        seed: Of folds and draws.

    Returns:
        The same as `score_signals`.

    Raises:
        EvaluationError: Too few grounded or hallucinated words for the folds.
        ModelInputError: An option of another type or out of range.
    """
    fold = fold_of(table.trace, table.hallucinated, folds=folds, seed=seed)
    weights = resampled_weights(table.trace, resamples=resamples, seed=seed)
    scores: dict[str, tuple[str, Chosen]] = {
        signal.name: (signal.kind, best_layer_scores(table.values[signal.name], table.hallucinated, fold))
        for signal in table.signals
    }
    for name, members in _combinations(table).items():
        scores[name] = ("combination", combined_scores(table.columns(members), table.hallucinated, table.trace, fold))
    bar = scores[BAR][1].scores if BAR in scores else None
    rows = tuple(
        _detector(name, kind, chosen, table=table, weights=weights, level=level, bar=None if name == BAR else bar)
        for name, (kind, chosen) in scores.items()
    )
    settings = {"folds": folds, "resamples": resamples, "level": level, "seed": seed}
    return Detection(
        rows=rows,
        by_layer=_by_layer(table, weights, level),
        words=len(table.hallucinated),
        hallucinated=int(table.hallucinated.sum()),
        traces=int(table.trace.max()) + 1,
        left_out=table.left_out,
        settings=settings,
    )


def _combinations(table: WordTable) -> dict[str, list[str]]:
    """Members of each combination: at least two, and no combination twice."""
    groups: dict[str, list[str]] = {BAR: [], INNER: [], BOTH: [], ALL: []}
    for signal in table.signals:
        if signal.kind == "baseline":
            continue
        groups[ALL].append(signal.name)
        if signal.kind != "lens":
            groups[BOTH].append(signal.name)
            groups[BAR if signal.kind == "confidence" else INNER].append(signal.name)
    found: dict[str, list[str]] = {}
    for name, members in groups.items():
        if len(members) > 1 and members not in found.values():
            found[name] = members
    return found


def _detector(
    name: str, kind: str, chosen: Chosen, *, table: WordTable, weights: np.ndarray, level: float, bar: np.ndarray | None
) -> Detector:
    known = np.isfinite(chosen.scores)
    values, hallucinated, drawn = chosen.scores[known], table.hallucinated[known], weights[:, known]
    numbers = auroc(values, hallucinated, drawn) if known.any() else np.full(len(weights), np.nan)
    precision = average_precision(values, hallucinated, drawn) if known.any() else numbers
    gain: Estimate | None = None
    if bar is not None and known.any():
        gain = estimate(numbers - auroc(bar[known], hallucinated, drawn), level)
    layers = table.layers.get(name, ())
    return Detector(
        name=name,
        kind=kind,
        auroc=estimate(numbers, level),
        average_precision=estimate(precision, level),
        gain=gain,
        layers=tuple(layers[n] for n in chosen.layers) if layers else (),
        direction=chosen.direction,
        words=int(known.sum()),
    )


def _by_layer(table: WordTable, weights: np.ndarray, level: float) -> xr.Dataset:
    """AUROC by signal and layer with its interval, greater values taken for hallucinated; below 0.5 lower ones are."""
    names = [name for name, layers in table.layers.items() if layers]
    layers = sorted({layer for name in names for layer in table.layers[name]})
    numbers = np.full((3, len(names), len(layers)), np.nan)
    for row, name in enumerate(names):
        for values, layer in zip(table.values[name].T, table.layers[name], strict=True):
            known = np.isfinite(values)
            if known.any():
                found = estimate(auroc(values[known], table.hallucinated[known], weights[:, known]), level)
                numbers[:, row, layers.index(layer)] = found.value, found.low, found.high
    coords = {"signal": names, "layer": layers}
    parts = zip(("auroc", "low", "high"), numbers, strict=True)
    return xr.Dataset({name: (("signal", "layer"), part) for name, part in parts}, coords=coords)
