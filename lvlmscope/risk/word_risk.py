"""The risk of each word of an answer, with the signals that raised it and the ranges they left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.signal_registry import WordSignal
from lvlmscope.evaluation.word_labels import LabelledWord, label_words, unlabelled_words
from lvlmscope.risk.calibration import Calibration, Probe
from lvlmscope.risk.function_words import FUNCTION_WORDS
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import Tokens, at_words, defined_mean

__all__ = ["OutOfRange", "WordReadings", "WordRisk", "judged_words", "read", "word_risks"]

_FEWEST = 5  # words of an answer that give ranges of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfRange:
    """A signal outside its reference range on the side of hallucinated words.

    Attributes:
        signal: Its name.
        layer: Where it was read; None for a signal without layers.
        value: At the word.
        low: Lower end of the reference range: 5 % of correct words (of this answer's words without a calibration).
        high: Upper end: 95 %.
    """

    signal: str
    layer: int | None
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """One line: value and range, with as many digits as it takes to see that the value is outside."""
        where = "" if self.layer is None else f", layer {self.layer}"
        for digits in range(3, 8):
            value, low, high = (f"{number:.{digits}g}" for number in (self.value, self.low, self.high))
            if value not in {low, high}:
                break
        return f"{self.signal}{where}: {value} (usual {low if low == high else f'{low} to {high}'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WordRisk:
    """One word of the answer.

    Attributes:
        text: The word.
        steps: The steps that wrote it.
        category: The object that it names, None where that is not known.
        risk: With a calibration the probability, among its words, that the word is hallucinated; without one the mean
            rank of its signals among this answer's words, 1 for the most suspicious on all of them: no probability.
        raised: Signals outside their ranges, farthest first.
    """

    text: str
    steps: tuple[int, ...]
    category: str | None
    risk: float
    raised: tuple[OutOfRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordReadings:
    """Signals at the judged words of one trace.

    Attributes:
        words: The words.
        values: By signal, float64 [word, layer], one layer for a signal without layers.
        layers: Layer numbers by signal; empty without layers.
        suspicious: By signal, the side that its paper connects with hallucinated words, None without a claim.
        calibration: Where ranks and ranges come from; None for the answer itself.
    """

    words: tuple[LabelledWord, ...]
    values: dict[str, np.ndarray]
    layers: dict[str, tuple[int, ...]]
    suspicious: dict[str, Literal["low", "high"] | None]
    calibration: Calibration | None

    def ranks(self, name: str) -> np.ndarray:
        """Share of the reference's words with smaller values, [word, layer] in [0, 1]; NaN without a value."""
        values = self.values[name]
        if self.calibration is not None and name in self.calibration.references:
            reference = self.calibration.references[name]
            ranked = [[reference.rank(position, float(v)) for position, v in enumerate(row)] for row in values]
            return np.array(ranked).reshape(values.shape)
        known = np.isfinite(values).sum(0)
        below = (values[None] < values[:, None]).sum(1) + ((values[None] == values[:, None]).sum(1) - 1) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(np.isfinite(values) & (known > 1), below / (known - 1), np.nan)

    def suspicion(self, name: str) -> np.ndarray:
        """`ranks`, turned so that 1 is the side that the signal's paper connects with hallucinated words.

        Args:
            name: A signal with such a claim.
        """
        return self.ranks(name) if self.suspicious[name] == "high" else 1 - self.ranks(name)


def judged_words(trace: Trace, vocabulary: Vocabulary | None) -> tuple[LabelledWord, ...]:
    """The words that get a risk: those that name an object; where these are not known, all but function words.

    Args:
        vocabulary: Which words name objects; None when that is not known.

    Returns:
        Words with their steps; their labels mean nothing, as the image's objects are not known.
    """
    if vocabulary is not None:
        return tuple(word for word in label_words(trace, (), vocabulary) if word.label != "other" and word.steps)
    return tuple(word for word in unlabelled_words(trace) if word.steps and word.text.lower() not in FUNCTION_WORDS)


@sharing_rows()
def read(
    trace: Trace,
    words: tuple[LabelledWord, ...],
    signals: Sequence[WordSignal],
    *,
    calibration: Calibration | None,
    model: Any,
    tokens: Tokens,
) -> WordReadings:
    """Every signal at every judged word.

    Args:
        words: The judged words.
        signals: What to read.
        calibration: Kept beside the values.
        model: For signals that run it once more.
        tokens: Which tokens of a word are read.
    """
    values, layers = {}, {}
    for signal in signals:
        array = signal.read(trace, model)
        layers[signal.name] = tuple(array["layer"].values.tolist()) if "layer" in array.dims else ()
        values[signal.name] = at_words(array, [word.steps for word in words], tokens)
    sides = {signal.name: signal.suspicious for signal in signals if signal.kind != "baseline"}
    values = {name: found for name, found in values.items() if name in sides}
    return WordReadings(words=words, values=values, layers=layers, suspicious=sides, calibration=calibration)


def word_risks(readings: WordReadings) -> tuple[WordRisk, ...]:
    """Risk and raised signals of each judged word, in the order of the answer."""
    calibration = readings.calibration
    probe = None if calibration is None else _probe(calibration, set(readings.values))
    if calibration is None or probe is None:
        return _uncalibrated(readings)
    found = []
    for number, word in enumerate(readings.words):
        best = {name: calibration.references[name].place for name in probe.signals}
        values = {name: float(readings.values[name][number, position]) for name, position in best.items()}
        raised = [one for name in probe.signals if (one := _raised(calibration, name, values[name])) is not None]
        found.append(_word(word, probe.risk(values), raised))
    return tuple(found)


def _word(word: LabelledWord, risk: float, raised: Sequence[OutOfRange]) -> WordRisk:
    far = sorted(raised, key=lambda one: -_distance(one))
    return WordRisk(text=word.text, steps=word.steps, category=word.category, risk=risk, raised=tuple(far))


def _distance(one: OutOfRange) -> float:
    """How far outside its range, in widths of it."""
    return max(one.low - one.value, one.value - one.high) / max(one.high - one.low, 1e-12)


def _probe(calibration: Calibration, given: set[str]) -> Probe | None:
    """The probe that uses the most of what is at hand."""
    fitting = [probe for probe in calibration.probes if set(probe.signals) <= given]
    return max(fitting, key=lambda probe: len(probe.signals), default=None)


def _raised(calibration: Calibration, name: str, value: float) -> OutOfRange | None:
    reference = calibration.references[name]
    low, high = reference.band(reference.place)
    outside = value > high if reference.direction == "higher" else value < low
    layer = reference.layers[reference.place] if reference.layers else None
    return OutOfRange(signal=name, layer=layer, value=value, low=low, high=high) if outside else None


def _uncalibrated(readings: WordReadings) -> tuple[WordRisk, ...]:
    """Ranks within the answer, each signal averaged over layers, on the side that its paper claims."""
    claimed = [name for name, side in readings.suspicious.items() if side is not None]
    if len(readings.words) < _FEWEST or not claimed:
        return tuple(_word(word, float("nan"), ()) for word in readings.words)
    means = {name: defined_mean(readings.values[name], 1) for name in claimed}
    risks = defined_mean(np.stack([defined_mean(readings.suspicion(name), 1) for name in claimed]), 0)
    bands = {name: _band(means[name]) for name in claimed}
    found = []
    for number, word in enumerate(readings.words):
        raised = []
        for name, (low, high) in bands.items():
            value = float(means[name][number])
            if (value > high) if readings.suspicious[name] == "high" else (value < low):
                raised.append(OutOfRange(signal=name, layer=None, value=value, low=low, high=high))
        found.append(_word(word, float(risks[number]), raised))
    return tuple(found)


def _band(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.05, 0.95])
    return float(low), float(high)
