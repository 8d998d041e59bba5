"""Signals of the object words of many traces, side by side with their labels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import numpy as np

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.signal_registry import WordSignal, chosen_signals
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.traces.requirements import require_traces
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens, at_words

__all__ = ["WordTable", "paired", "read_words"]

_LABELS: Final = "what label_words gives for each trace"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordTable:
    """Every object word of many traces with the values of each signal.

    Attributes:
        signals: What was read.
        values: By signal name, float64 [word, layer]; one layer for a signal without layers.
        layers: Layer numbers of each signal's layer axis; empty for a signal without layers.
        hallucinated: Whether the word's object is missing from the image. bool [word]
        trace: Number of the trace that the word comes from, 0..T-1. int64 [word]
        words: The words.
        left_out: Signals that the traces cannot give, with the reason.
    """

    signals: tuple[WordSignal, ...]
    values: dict[str, np.ndarray]
    layers: dict[str, tuple[int, ...]]
    hallucinated: np.ndarray
    trace: np.ndarray
    words: tuple[LabelledWord, ...]
    left_out: tuple[str, ...]

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """The values of some signals, all their layers side by side, float64 [word, column]."""
        return np.concatenate([self.values[name] for name in names], axis=1)


def paired(
    traces: Iterable[Trace], labels: Iterable[Sequence[LabelledWord]]
) -> Iterator[tuple[Trace, Sequence[LabelledWord]]]:
    """Traces with their words; both may be generators, so that no more than one trace is held.

    Args:
        traces: Traces.
        labels: The words of each, as `label_words` gives them.

    Yields:
        Pairs.

    Raises:
        EvaluationError: One of the two ends before the other.
        ModelInputError: Something among the traces is none, or labels are not words.
    """
    listed = each_of("labels", labels, _LABELS)
    for count, (trace, words) in enumerate(zip_longest(require_traces(traces), listed)):
        if trace is None or words is None:
            got = f"{count} traces and more labels" if trace is None else f"{count} labels and more traces"
            expected = "one list of words for each trace"
            raise EvaluationError(message(got, expected, "pair them", task="pair traces with labels"))
        named = tuple(each_of("labels", words, _LABELS))
        for word in named:
            require_kind("labels", word, LabelledWord, _LABELS)
        yield trace, named


def read_words(
    traces: Iterable[Trace],
    labels: Iterable[Sequence[LabelledWord]],
    *,
    signals: Sequence[str] | None = None,
    tokens: Tokens = "first",
    model: Any = None,
) -> WordTable:
    """Reads the signals of every object word.

    Args:
        traces: Traces of one model, made with the same parts kept.
        labels: The words of each trace; words that name no object are passed over.
        signals: Names of signals; None for all that the traces allow.
        tokens: Which tokens of a word are read: the `"first"`, or the `"mean"` over all.
        model: The model, for signals that run it once more; without it they are left out.

    Returns:
        The table.

    Raises:
        EvaluationError: No object word at all, traces of different depth, or lengths that differ.
    """
    chosen: tuple[WordSignal, ...] = ()
    left_out: tuple[str, ...] = ()
    rows: dict[str, list[np.ndarray]] = {}
    depth: tuple[int, ...] = ()
    layers: dict[str, tuple[int, ...]] = {}
    words: list[LabelledWord] = []
    numbers: list[int] = []
    for number, (trace, labelled) in enumerate(paired(traces, labels)):
        if not chosen:
            chosen, left_out = chosen_signals(signals, trace, model)
            depth = trace.layer_indices
        if trace.layer_indices != depth:
            got = f"layers {depth} and {trace.layer_indices}"
            raise EvaluationError(message(got, "traces of one model", "give one model's traces", task="read words"))
        objects = [word for word in labelled if word.label != "other" and word.steps]
        if not objects:
            continue
        words += objects
        numbers += [number] * len(objects)
        with sharing_rows():
            for signal in chosen:
                array = signal.read(trace, model)
                layers[signal.name] = tuple(array["layer"].values.tolist()) if "layer" in array.dims else ()
                rows.setdefault(signal.name, []).append(at_words(array, [word.steps for word in objects], tokens))
    if not words:
        raise EvaluationError(
            message("no object word", "answers that name objects", "give more traces", task="read words")
        )
    return WordTable(
        signals=chosen,
        values={name: np.concatenate(found) for name, found in rows.items()},
        layers=layers,
        hallucinated=np.array([word.label == "hallucinated" for word in words]),
        trace=np.unique(numbers, return_inverse=True)[1],
        words=tuple(words),
        left_out=left_out,
    )
