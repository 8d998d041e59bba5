"""A calibration: what each signal's values on correct words are like in one model, kept in a JSON file."""

import json
import os
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np

from lvlmscope import tiny
from lvlmscope.errors import EvaluationError, OutputError, message, task
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.interface.paths import path_of
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.validated_json import STRICT, read_json_object, validated
from lvlmscope.traces.word_values import Tokens

__all__ = ["FORMAT", "SHARES", "Calibration", "Probe", "Reference", "bundled_calibration"]

FORMAT: Final = 1
_EXPECTED: Final = "a file that Calibration.save wrote"
SHARES: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One signal on correct words.

    Attributes:
        layers: Layer numbers; empty for a signal without layers.
        quantiles: At `SHARES`, for each layer (one row without layers).
        place: Position of the layer that separated hallucinated from grounded words best.
        direction: `"higher"` or `"lower"` values there on hallucinated words, `"mixed"` where halves of the data
            disagree.
        auroc: Of that best number, chosen and judged on different words; its interval in `low` and `high`.
        low: Lower end of the interval.
        high: Upper end.
    """

    __pydantic_config__: ClassVar = STRICT

    layers: tuple[int, ...]
    quantiles: tuple[tuple[float, ...], ...]
    place: int
    direction: Literal["higher", "lower", "mixed"]
    auroc: float
    low: float
    high: float

    @property
    def separates(self) -> bool:
        """Whether the signal separated hallucinated from grounded words in the calibration, in one direction."""
        return self.low > 0.5 and self.direction != "mixed"

    def rank(self, position: int, value: float) -> float:
        """The share of correct words with a smaller value, in [0, 1], interpolated between the kept quantiles.

        Args:
            position: Index into the layers.
            value: A value of the signal.
        """
        known = self.quantiles[position]
        if not np.isfinite(value) or not np.isfinite(known).all():
            return float("nan")
        if value < known[0]:
            return 0.0
        if value > known[-1]:
            return 1.0
        tied = [share for share, quantile in zip(SHARES, known, strict=True) if quantile == value]
        # Where a signal piles up on one value its quantiles are equal, and it takes the middle of their shares
        if tied:
            return float(np.mean(tied))
        # numpy's interpolation divides the shares by the distance first, which overflows between denormal numbers
        upper = bisect_right(known, value)
        part = (value - known[upper - 1]) / (known[upper] - known[upper - 1])
        return SHARES[upper - 1] + part * (SHARES[upper] - SHARES[upper - 1])

    def band(self, position: int) -> tuple[float, float]:
        """The middle 90 % of correct words.

        Args:
            position: Index into the layers.
        """
        known = self.quantiles[position]
        return known[SHARES.index(0.05)], known[SHARES.index(0.95)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A logistic regression from a few signals, each at its best layer, to the risk of hallucination of a word.

    Attributes:
        needs: What it needs beside a plain trace, among gradient, hidden_states, model.
        signals: The signals.
        centre: Mean of each on the calibration's words.
        scale: Standard deviation.
        fill: Median, for a value that is missing.
        weights: Of the standardised values.
        intercept: Log-odds at the mean.
    """

    __pydantic_config__: ClassVar = STRICT

    needs: tuple[str, ...]
    signals: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    fill: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def risk(self, values: Mapping[str, float]) -> float:
        """The risk, a probability among the calibration's words.

        Args:
            values: By signal, at its best layer.
        """
        given = np.array([values[name] for name in self.signals])
        given = np.where(np.isfinite(given), given, self.fill)
        odds = self.intercept + float((given - self.centre) / self.scale @ np.array(self.weights))
        return float(1 / (1 + np.exp(-odds)))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Calibration:
    """Reference ranges of one model.

    Attributes:
        model: Name of the model.
        num_layers: Its decoder layers.
        num_heads: Its query heads.
        tokens: Which tokens of a word were read.
        grounded_words: Correct object words that the ranges come from.
        hallucinated_words: Hallucinated object words that the probes learned from beside them.
        references: By signal.
        probes: Each for what may be at hand.
        words: Surface forms by category: the object words that the ranges are about.
        made_with: Versions, examples, prompt, command (JSON values).
    """

    __pydantic_config__: ClassVar = STRICT

    model: str
    num_layers: int
    num_heads: int
    tokens: Tokens
    grounded_words: int
    hallucinated_words: int
    references: dict[str, Reference]
    probes: tuple[Probe, ...]
    words: dict[str, tuple[str, ...]]
    made_with: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line: model, words and signals."""
        size = f"{self.num_layers} layers x {self.num_heads} heads"
        words = f"{self.grounded_words} true and {self.hallucinated_words} hallucinated words"
        return f"Calibration({self.model!r}, {size}, {words}, {len(self.references)} signals)"

    @property
    def vocabulary(self) -> Vocabulary:
        """The object words."""
        return Vocabulary(self.words, plurals=False, shared="all")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration as JSON, complete or not at all.

        Args:
            path: File to write; an existing one is replaced.

        Raises:
            OutputError: The file cannot be written.
        """
        stored = _nulled({"format": "lvlmscope calibration", "version": FORMAT, "shares": SHARES} | asdict(self))
        with task("save a calibration"):
            target = path_of(path, OutputError)
        try:
            with whole_file(target) as temporary:
                temporary.write_text(json.dumps(stored, indent=1) + "\n")
        except OSError as error:
            raise OutputError(
                message(str(error), "a path that can be written", "choose another", task="save a calibration")
            ) from error

    @classmethod
    @task("read a calibration")
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a calibration that `save` wrote.

        Args:
            path: File to read.

        Raises:
            EvaluationError: No such file, no calibration, or of another format.
        """
        stored = read_json_object(path_of(path, EvaluationError), _EXPECTED, EvaluationError)
        if stored.get("format") != "lvlmscope calibration":
            raise EvaluationError(message(f"{os.fspath(path)}, another kind of file", _EXPECTED, "check the path"))
        if stored.get("version") != FORMAT or stored.get("shares") != list(SHARES):
            got, fix = f"version {stored.get('version')!r}"[:80], "calibrate again with this version of lvlmscope"
            raise EvaluationError(message(got, f"version {FORMAT}", fix))
        kept = {name: value for name, value in stored.items() if name not in {"format", "version", "shares"}}
        kept |= {name: _with_nan(kept[name]) for name in ("references", "probes") if name in kept}
        found = validated(cls, kept, _EXPECTED, EvaluationError)
        _require_agreement(found)
        return found


def _require_agreement(found: Calibration) -> None:
    """Sizes and names that a schema cannot hold against each other."""
    for name, one in found.references.items():
        rows = max(len(one.layers), 1)
        sizes = {len(row) for row in one.quantiles}
        if len(one.quantiles) != rows or sizes != {len(SHARES)} or not 0 <= one.place < rows:
            got = f"{len(one.quantiles)} rows of quantiles of {name} for {rows} layers"
            raise EvaluationError(message(got, _EXPECTED, "calibrate again"))
    for probe in found.probes:
        columns = {len(getattr(probe, field)) for field in ("centre", "scale", "fill", "weights")}
        if columns != {len(probe.signals)} or not set(probe.signals) <= set(found.references):
            got = f"a probe of {', '.join(probe.signals) or 'no signal'} whose parts do not fit"
            raise EvaluationError(message(got, _EXPECTED, "calibrate again"))


def bundled_calibration() -> Calibration:
    """The calibration of the bundled model."""
    return Calibration.load(tiny.path("calibration.json"))


def _with_nan(value: Any) -> Any:
    """The same with NaN for null."""
    if isinstance(value, dict):
        return {name: _with_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_nan(one) for one in value]
    return float("nan") if value is None else value


def _nulled(value: Any) -> Any:
    """The same with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _nulled(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
