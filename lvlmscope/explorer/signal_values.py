"""The registered signals at each word of an answer, with their names, units and meanings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lvlmscope.errors import LvlmscopeError
from lvlmscope.evaluation.signal_registry import WordSignal, chosen_signals
from lvlmscope.explorer.packed_numbers import plain_number
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.traces.array_attributes import unit_of
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import at_words

__all__ = ["RANK", "RISK", "Shown", "merged", "signal_kinds", "signals_at_words"]

# Id, name, unit, meaning, and place among the others
Shown = dict[str, Any]
RISK: Final[Shown] = {
    "id": "risk",
    "name": "risk of being hallucinated",
    "unit": "share of 1",
    "meaning": "How often judged words with such signals were hallucinated in the calibration.",
    "place": 10_000,
}
RANK: Final[Shown] = {
    "id": "risk",
    "name": "rank of suspicion, not calibrated",
    "unit": "unscaled",
    "meaning": "Mean rank of the judged words within this answer; no probability.",
    "place": 10_000,
}
_ORDER: Final = ("attention", "gradient", "hidden", "lens", "confidence")


def signal_kinds(trace: Trace) -> tuple[str, ...]:
    """The kinds of signals that the trace alone allows, in the order in which they are shown.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> signal_kinds(planted_trace())
    ('attention', 'confidence')
    """
    found = {signal.kind for signal in _allowed(trace)}
    return tuple(kind for kind in _ORDER if kind in found)


@sharing_rows()
def signals_at_words(
    maps: WordMaps, kinds: Sequence[str] | None = None
) -> tuple[list[Shown], dict[str, list[float | None]], list[str]]:
    """Every signal that the trace alone allows, as the mean over each word's tokens, layers and heads.

    Args:
        maps: The trace's maps.
        kinds: Kinds of signals to read; None for all.

    Returns:
        What each signal is called; its values by its id, one number per word, None where it is not defined; and notes
        on signals that refuse the trace.
    """
    shown: list[Shown] = []
    values, notes = {}, []
    for signal in _allowed(maps.trace):
        if kinds is not None and signal.kind not in kinds:
            continue
        try:
            array = signal.read(maps.trace)
        except LvlmscopeError as error:
            notes.append(f"{signal.name} is not shown: {error}")
            continue
        shown.append(_shown(signal, array.attrs, place=1000 * _ORDER.index(signal.kind) + len(shown)))
        found = at_words(array, [word.steps for word in maps.words], "mean", keep_layers=False)
        values[signal.name] = [plain_number(float(v)) if math.isfinite(v) else None for v in found]
    return shown, values, notes


def _allowed(trace: Trace) -> list[WordSignal]:
    allowed = chosen_signals(None, trace)[0] if trace.num_steps else ()
    if not (trace.num_layers and trace.num_heads):
        allowed = tuple(each for each in allowed if each.kind == "confidence")
    return sorted((each for each in allowed if each.kind in _ORDER), key=lambda each: _ORDER.index(each.kind))


def merged(sides: list[list[Shown]]) -> list[Shown]:
    """The signals of several traces, each once, in their order."""
    return sorted({each["id"]: each for side in sides for each in side}.values(), key=lambda each: int(each["place"]))


def _shown(signal: WordSignal, attrs: Mapping[str, Any], *, place: int) -> Shown:
    name = signal.name.replace("_", " ")
    return {"id": signal.name, "name": name, "unit": unit_of(attrs), "meaning": signal.description, "place": place}
