"""One trace's readings of a signal, and their sums by class of word, object and span of the answer."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.word_labels import LABELS, LabelledWord
from lvlmscope.traces.answer_spans import SPANS
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens, word_steps

__all__ = ["GROUPS", "OF_WORDS", "Axis", "readings_of", "sums_of"]

Axis = Literal["layer", "head", "word", "category", "span"]
OF_WORDS: Final = ("category", "word")  # axes that words have, and tokens have not
GROUPS: Final = (*OF_WORDS, "span")  # categories first: each then has all classes of the others
_AVERAGED: Final = ("layer", "head")
_OF_STEPS: Final = ("step", "token", "span")


def readings_of(
    array: xr.DataArray, trace: Trace, axes: Sequence[Axis], words: Sequence[LabelledWord] | None, tokens: Tokens
) -> xr.DataArray:
    """Values over `reading`, the axes asked for and the signal's own dims; coordinates tell the groups asked for.

    Args:
        array: The signal of the trace.
        trace: Where it is from.
        axes: As for `aggregate`.
        words: The trace's words, None for tokens.
        tokens: As for `aggregate`.

    Returns:
        The readings; with `"category"` those of object words alone.

    Raises:
        EvaluationError: An axis that the signal or the trace does not have.
    """
    missing = set(axes) - set(GROUPS) - set(array.dims)
    stepless = (words is not None or "span" in axes) and "step" not in array.dims
    if missing or "key" in array.dims or stepless:
        got = f"by={tuple(axes)} of a signal with dims {array.dims}"
        expected = "axes that the signal has, no 'key', and steps for words and spans"
        raise EvaluationError(message(got, expected, "choose other axes, or reduce the signal first"))
    array = array.astype(np.float64).mean([dim for dim in _AVERAGED if dim in array.dims and dim not in axes])
    array = array.drop_vars(_OF_STEPS, errors="ignore")
    if "step" not in array.dims:
        return array.expand_dims("reading")
    spans = _spans(trace) if "span" in axes else None
    if words is None:
        found = array.rename(step="reading")
        return found if spans is None else found.assign_coords(span=("reading", list(spans)))
    named = [word for word in words if word.steps and ("category" not in axes or word.category is not None)]
    values = [array.isel(step=word_steps(word.steps, tokens)).mean("step") for word in named]
    found = xr.concat(values, "reading") if values else array.isel(step=[]).rename(step="reading")
    groups: dict[str, list[Any]] = {
        "word": [word.label for word in named],
        "category": [word.category for word in named],
        "span": [] if spans is None else [spans[word.steps[0]] for word in named],
    }
    return found.assign_coords({name: ("reading", groups[name]) for name in GROUPS if name in axes})


def _spans(trace: Trace) -> tuple[str, ...]:
    if trace.spans is None:
        got = "a trace whose spans are not known: its model declares no markers, or several"
        fix = "label them with lvlmscope.capture.span_labels.label_spans(trace, markers=(...))"
        raise EvaluationError(message(got, "traces with spans for by='span'", fix))
    return trace.spans


def sums_of(readings: xr.DataArray, groups: Sequence[str]) -> xr.Dataset:
    """Total, total of squares and count of one trace's readings, with a dim for each group.

    Args:
        readings: What `readings_of` gives.
        groups: Axes among `GROUPS`. Words and spans have all their classes; categories those that the trace names.
    """
    if not groups:
        squares, known = readings**2, readings.notnull()
        parts = {"total": readings, "squares": squares, "count": known}
        return xr.Dataset({name: part.sum("reading") for name, part in parts.items()})
    own, *others = groups
    told = readings[own].to_numpy()
    fixed: dict[str, list[str]] = {"word": [*LABELS], "span": [*SPANS]}
    classes = fixed.get(own) or sorted(set(told.tolist()))
    rest = readings.drop_vars(own)
    parts_of = [sums_of(rest.isel(reading=told == one), others) for one in classes]
    if not parts_of:
        return sums_of(rest, others).expand_dims({own: 0}).assign_coords({own: np.array([], dtype=object)})
    return xr.concat(parts_of, xr.Variable(own, np.array(classes, dtype=object)))
