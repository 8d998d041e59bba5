"""What takes longer than words and maps: signals by kind, the logit lenses, the diagnosis. Parts to ask for."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import finalize

from lvlmscope.explorer.diagnosis_blocks import blocks_of, diagnosis_of, risks_of
from lvlmscope.explorer.intervention_controls import proposal_controls
from lvlmscope.explorer.lens_texts import lens_of
from lvlmscope.explorer.signal_values import RANK, RISK, signal_kinds, signals_at_words
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.risk import Diagnosis
from lvlmscope.traces.shared_rows import sharing_rows

__all__ = ["LaterParts"]

Made = TypeVar("Made")


@dataclass(eq=False)
class LaterParts:
    """The parts of one trace or of two; what they share (rows of attention) is computed once and then let go.

    Attributes:
        word_maps: One per trace.
        diagnosis: The first trace's, True to diagnose each, False for none.
        model: The model that made the traces; None for none.
    """

    word_maps: Sequence[WordMaps]
    diagnosis: Diagnosis | bool
    model: Any
    _context: Context = field(default_factory=copy_context)
    _close: Callable[[], Any] | None = None

    def requests(self) -> list[dict[str, Any]]:
        """What can be asked for, in the order in which to ask: `side`, `part`, and how a page calls it."""
        found = []
        for side, each in enumerate(self.word_maps):
            parts = [(kind, f"reading signals of {kind}") for kind in signal_kinds(each.trace) if kind != "confidence"]
            parts += [("lens", "reading the logit lens")] if self.model is not None and each.words else []
            given = isinstance(self.diagnosis, Diagnosis) and side == 0
            parts += [("diagnosis", "diagnosing")] if self.diagnosis is True or given else []
            found += [{"side": side, "part": part, "told": told} for part, told in parts]
        return found

    def part(self, side: int, name: str) -> dict[str, Any]:
        """One part of the document, to be merged into it.

        Args:
            side: Which trace.
            name: A kind of signals, "lens" or "diagnosis".

        Returns:
            Any of `signals`, `values`, `notes`, `diagnosis`, `proposals` and `lens`.
        """
        last = [(each["side"], each["part"]) for each in self.requests()][-1:] == [(side, name)]
        try:
            return self._sharing(lambda: self._made(side, name))
        finally:
            if last:
                self.close()

    def close(self) -> None:
        """Let go what the parts share."""
        if self._close is not None:
            self._close()
            self._close = None

    def _sharing(self, make: Callable[[], Made]) -> Made:
        """Messages of a notebook come one by one: what one of them computed is there for the next."""
        if self._close is None:
            shared = ExitStack()
            self._context.run(shared.enter_context, sharing_rows())
            self._close = finalize(self, self._context.run, shared.close)  # also where the last part is never asked for
        return self._context.run(make)

    def _made(self, side: int, name: str) -> dict[str, Any]:
        word_maps = self.word_maps[side]
        if name == "lens":
            return {"lens": lens_of(word_maps.trace, self.model)}
        if name == "diagnosis":
            return self._diagnosed(side, word_maps)
        signals, values, notes = signals_at_words(word_maps, kinds=(name,))
        return {"signals": signals, "values": values, "notes": notes}

    def _diagnosed(self, side: int, word_maps: WordMaps) -> dict[str, Any]:
        given = self.diagnosis if isinstance(self.diagnosis, Diagnosis) and side == 0 else None
        found = given or (diagnosis_of(word_maps.trace, self.model) if self.diagnosis is True else None)
        if found is None:
            return {}
        signal = RISK if found.calibrated else RANK
        proposals = {} if self.model is None else {"proposals": proposal_controls(found.interventions)}
        return proposals | {
            "diagnosis": blocks_of(found, word_maps.words),
            "values": {"risk": risks_of(found, word_maps.words)},
            "signals": [signal],
        }
