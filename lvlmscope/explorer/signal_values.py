"""The registered signals at each word of an answer, with their names, units and meanings."""

import math
from collections.abc import Mapping
from typing import Any, Final

from lvlmscope.errors import LvlmscopeError
from lvlmscope.evaluation.signal_registry import WordSignal, chosen_signals
from lvlmscope.explorer.packed_numbers import plain_number
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.traces.array_attributes import unit_of
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.word_values import at_words

__all__ = ["RANK", "RISK", "Shown", "merged", "signals_at_words"]

# Id, name, unit and meaning
Shown = dict[str, str]
RISK: Final[Shown] = {
    "id": "risk",
    "name": "risk of being hallucinated",
    "unit": "share of 1",
    "meaning": "of judged words",
}
RANK: Final[Shown] = {
    "id": "risk",
    "name": "rank of suspicion, not calibrated",
    "unit": "unscaled",
    "meaning": "mean rank of judged words within this answer, no probability",
}
_ORDER: Final = ("attention", "gradient", "hidden", "lens", "confidence")


@sharing_rows()
def signals_at_words(maps: WordMaps) -> tuple[list[Shown], dict[str, list[float | None]], list[str]]:
    """Every signal that the trace alone allows, as the mean over each word's tokens, layers and heads.

    Returns:
        What each signal is called; its values by its id, one number per word, None where it is not defined; and notes
        on signals that refuse the trace.
    """
    trace = maps.trace
    shown, values, notes = [], {}, []
    allowed = chosen_signals(None, trace)[0] if trace.num_steps else ()
    if not (trace.num_layers and trace.num_heads):
        allowed = tuple(each for each in allowed if each.kind == "confidence")
    for signal in sorted((each for each in allowed if each.kind in _ORDER), key=lambda each: _ORDER.index(each.kind)):
        try:
            array = signal.read(trace)
        except LvlmscopeError as error:
            notes.append(f"{signal.name} is not shown: {error}")
            continue
        shown.append(_shown(signal, array.attrs))
        found = at_words(array, [word.steps for word in maps.words], "mean", keep_layers=False)
        values[signal.name] = [plain_number(float(v)) if math.isfinite(v) else None for v in found]
    return shown, values, notes


def merged(sides: list[list[Shown]]) -> list[Shown]:
    """The signals of several traces, each once, in the order of the first that has it."""
    return list({each["id"]: each for side in sides for each in side}.values())


def _shown(signal: WordSignal, attrs: Mapping[str, Any]) -> Shown:
    name = signal.name.replace("_", " ")
    return {"id": signal.name, "name": name, "unit": unit_of(attrs), "meaning": signal.description}
