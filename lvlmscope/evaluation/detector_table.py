"""The table of detectors: how it prints, and how it is taken elsewhere."""

import html
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import xarray as xr

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.metrics.ranking import Estimate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Detection", "Detector"]

_FEW: Final = 20  # words of a class


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One signal, or combination, as a detector of hallucinated object words.

    Attributes:
        name: The signal.
        kind: Where it is read from, or `"combination"`.
        auroc: In the direction chosen on other words; 0.5 is chance.
        average_precision: Of finding hallucinated words; chance is their share.
        gain: AUROC minus that of all confidence signals together, on the same words; None without them, and for them.
        layers: The layer chosen in each fold; empty for a signal without layers and for a combination.
        direction: `"higher"` or `"lower"` values mark hallucinated words; `"mixed"` when folds disagree; else empty.
        words: Words that have a value.
    """

    name: str
    kind: str
    auroc: Estimate
    average_precision: Estimate
    gain: Estimate | None
    layers: tuple[int, ...]
    direction: str
    words: int

    @property
    def separates(self) -> bool:
        """Whether the interval of the AUROC lies above chance."""
        return self.auroc.low > 0.5

    def cells(self) -> dict[str, str]:
        """The row as texts, by column."""
        counts = Counter(self.layers).most_common()
        layer = ", ".join(f"{number} ({count}x)" for number, count in counts)
        verdict = "yes" if self.separates else "no"
        return {
            "signal": self.name,
            "read from": self.kind,
            "AUROC": _interval(self.auroc),
            "average precision": _interval(self.average_precision),
            "over confidence": "" if self.gain is None else _interval(self.gain, signed=True),
            "layer": layer,
            "hallucinated words": self.direction,
            "separates": verdict,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Detection:
    """Signals as detectors of hallucinated object words.

    Attributes:
        rows: One detector for each signal, then the combinations.
        by_layer: `auroc`, `low`, `high` over (signal, layer), greater values taken for hallucinated: descriptive.
        words: Object words.
        hallucinated: Those whose object is not in the image.
        traces: Traces with at least one object word.
        left_out: Signals that the traces cannot give, with the reason.
        settings: Folds, draws, level, seed.
    """

    rows: tuple[Detector, ...]
    by_layer: xr.Dataset
    words: int
    hallucinated: int
    traces: int
    left_out: tuple[str, ...]
    settings: dict[str, Any]

    def __getitem__(self, name: str) -> Detector:
        """The row of a signal.

        Args:
            name: Its name in the table.

        Raises:
            EvaluationError: No such row.
        """
        for row in self.rows:
            if row.name == name:
                return row
        expected = ", ".join(row.name for row in self.rows)
        raise EvaluationError(message(repr(name), expected, "choose one of them", task="read a detector"))

    def to_pandas(self) -> "pd.DataFrame":
        """One row a detector, numbers as numbers."""
        import pandas as pd

        return pd.DataFrame(self.to_json()["detectors"]).set_index("name")

    def to_json(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        detectors = [
            {"name": row.name, "kind": row.kind}
            | _flat("auroc", row.auroc)
            | _flat("average_precision", row.average_precision)
            | (_flat("gain", row.gain) if row.gain else {})
            | {"layers": list(row.layers), "direction": row.direction, "words": row.words, "separates": row.separates}
            for row in self.rows
        ]
        by_layer = {
            str(name): [
                None if math.isnan(value) else round(value, 4)
                for value in self.by_layer["auroc"].sel(signal=name).values.tolist()
            ]
            for name in self.by_layer["signal"].values
        }
        counts = {"words": self.words, "hallucinated": self.hallucinated, "traces": self.traces}
        rest = {"left_out": list(self.left_out), "settings": self.settings, "auroc_by_layer": by_layer}
        return counts | {"detectors": detectors} | rest

    def to_markdown(self) -> str:
        """The table in Markdown, best first within signals and within combinations."""
        rows = [row.cells() for row in self._sorted()]
        lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        return "\n".join(lines + ["| " + " | ".join(row.values()) + " |" for row in rows])

    def __repr__(self) -> str:
        """The table for a terminal."""
        rows = [row.cells() for row in self._sorted()]
        widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
        lines = [{name: name for name in rows[0]}, *rows]
        table = ["  ".join(text.ljust(widths[name]) for name, text in line.items()).rstrip() for line in lines]
        return "\n".join([self._title(), *table, *self._notes()])

    def _repr_html_(self) -> str:
        """The table for Jupyter."""
        rows = [row.cells() for row in self._sorted()]
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in rows[0])
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(t)}</td>" for t in row.values()) + "</tr>"
            for row in rows
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self._notes())
        return f"<p>{html.escape(self._title())}</p><table><tr>{head}</tr>{body}</table>{notes}"

    def _notes(self) -> list[str]:
        """What a reader must know before trusting a row."""
        notes, fewest = [], min(self.hallucinated, self.words - self.hallucinated)
        if fewest < _FEW:
            notes.append(
                f"few words: {self.hallucinated} hallucinated and {self.words - self.hallucinated} grounded ones. "
                f"With fewer than {_FEW} of either, 'separates' may be chance: label more answers"
            )
        if below := [row.name for row in self.rows if row.auroc.value < 0.5]:
            notes.append(
                f"below 0.5: {'; '.join(below)}. Direction, layer and weights come from other words, "
                "and what was found there does not hold on these"
            )
        return notes

    def _sorted(self) -> list[Detector]:
        return sorted(self.rows, key=lambda row: (row.kind == "combination", -_known(row.auroc.value)))

    def _title(self) -> str:
        share = self.hallucinated / self.words
        left = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return (
            f"{self.words} object words of {self.traces} answers, {self.hallucinated} hallucinated ({share:.0%}){left}"
        )


def _flat(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _interval(found: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
