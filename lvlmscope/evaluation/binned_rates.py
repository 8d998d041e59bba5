"""How often words are hallucinated where a signal is low, and where it is high."""

import os
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.ranking import Level, Resamples, estimate, weight_blocks
from lvlmscope.evaluation.sweep_tables import sweep_words
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.evaluation.word_table import WordTable, read_words
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens, defined_mean

__all__ = ["rate_by_bin"]


@checked
@task("count hallucinated words by bin")
def rate_by_bin(
    traces: Iterable[Trace] | str | os.PathLike[str],
    signal: str,
    labels: Iterable[Sequence[LabelledWord]] | None = None,
    *,
    bins: Annotated[int, Range(ge=2)] = 10,
    layers: Sequence[int] | None = None,
    tokens: Tokens = "first",
    resamples: Resamples = 1000,
    level: Level = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Share of object words that are hallucinated in bins of a signal, with bootstrap intervals over traces.

    Bins hold equal numbers of words: their edges are quantiles of the words' values. Words of equal value are in one
    bin, so that there may be fewer bins than requested. LVLMs-Saliency (arXiv 2601.20279) finds that words of low
    saliency to the words before, here `"saliency_to_previous"`, are hallucinated more often.

    Args:
        traces: Traces of one model, or a sweep's folder.
        signal: A name that `lvlmscope signals` lists.
        labels: The words of each trace, as `label_words` gives them; None for a sweep.
        bins: Number of bins.
        layers: Numbers of the layers that a word's value is the mean over; None for all.
        tokens: As for `aggregate`.
        resamples: Bootstrap draws.
        level: Share of the draws inside the interval.
        seed: Of the draws.

    Returns:
        Variables `rate`, `low`, `high` (shares of 1), `count` (words), `least`, `greatest` and `centre` (the signal's
        least, greatest and mean value) over `bin`. Words without a value are left out.

    Raises:
        EvaluationError: No object words with a value, labels with a sweep or none with traces, an unknown signal, or
            layers that it does not have.
        ModelInputError: An option of another type, out of range, or not among the choices.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> from lvlmscope.evaluation import Vocabulary, label_words
    >>> traces = [planted_trace(mass=0.1 * n, sink=0.0) for n in range(1, 9)]
    >>> words = Vocabulary({"dog": ["word1"]})
    >>> labels = [label_words(t, {"dog"} if n >= 4 else (), words) for n, t in enumerate(traces)]
    >>> rate_by_bin(traces, "image_attention_focus", labels, bins=2, resamples=100)["rate"].values.tolist()
    [1.0, 0.0]
    """
    table = _table(traces, signal, labels, tokens)
    (found,) = table.signals
    values = _chosen(table, layers)
    known = np.isfinite(values)
    if not known.any():
        fix = "choose other layers or another signal"
        raise EvaluationError(message(f"no object word with a value of {found.name}", "one or more", fix))
    values, wrong, trace = values[known], table.hallucinated[known], table.trace[known]
    inside = _binned(values, bins)
    blocks = weight_blocks(np.unique(trace, return_inverse=True)[1], resamples=resamples, seed=seed)
    sums = [(weights @ (inside * wrong[:, None]), weights @ inside) for weights in blocks]
    hits, counts = (np.vstack(part) for part in zip(*sums, strict=True))
    shares = np.divide(hits, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    rates = [estimate(column, level) for column in shares.T]
    members = [values[column > 0] for column in inside.T]
    parts = {
        "rate": [one.value for one in rates],
        "low": [one.low for one in rates],
        "high": [one.high for one in rates],
        "count": [len(one) for one in members],
        "least": [one.min() for one in members],
        "greatest": [one.max() for one in members],
        "centre": [one.mean() for one in members],
    }
    coords = {"bin": np.arange(len(members))}
    about: dict[str, Any] = {"signal": found.name, "description": found.description, "level": level}
    return xr.Dataset({name: ("bin", np.array(part)) for name, part in parts.items()}, coords=coords, attrs=about)


def _table(traces: Any, signal: str, labels: Any, tokens: Tokens) -> WordTable:
    folder = isinstance(traces, str | os.PathLike)
    if folder != (labels is None):
        got = "a sweep's folder with labels" if folder else "traces without labels"
        fix = "leave them out: a sweep holds its own" if folder else "pass what label_words gives"
        raise EvaluationError(message(got, "labels with traces alone", fix))
    if folder:
        return sweep_words(traces, signals=[signal], tokens=tokens)
    return read_words(traces, labels, signals=[signal], tokens=tokens)


def _chosen(table: WordTable, layers: Sequence[int] | None) -> np.ndarray:
    """The words' values, mean over layers."""
    (found,) = table.signals
    values, own = table.values[found.name], table.layers[found.name]
    if layers is None:
        return defined_mean(values, 1)
    if not layers or (lacking := [layer for layer in layers if layer not in own]):
        got = f"layers {lacking} of {found.name}" if layers else "no layer"
        raise EvaluationError(message(got, ", ".join(map(str, own)) or "a signal with layers", "choose among these"))
    return defined_mean(values[:, [own.index(layer) for layer in layers]], 1)


def _binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Which bin each word is in, float64 [word, bin]; bins without words are left out."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    places = np.searchsorted(edges, values, side="left")
    whole = (places[:, None] == np.arange(len(edges) + 1)).astype(np.float64)
    found: np.ndarray = whole[:, whole.any(0)]
    return found
