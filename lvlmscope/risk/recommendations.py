"""Interventions recommended for a trace: each configured from it, with the evidence and a reason."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lvlmscope.attention.layer_bands import DEEP, INITIAL, LayerSpec
from lvlmscope.diagnostics import saliency_to_answer
from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.errors import ModelInputError
from lvlmscope.interventions import CLVA, DLEAF, SGRS, HalluRNN, HeadRescaling, LocoRE
from lvlmscope.risk.report_tables import ranges
from lvlmscope.risk.word_risk import WordReadings, WordRisk
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.requirements import chosen_layers
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import defined_mean

__all__ = ["Evidence", "Recommendation", "propose"]

_LONGEST_WINDOW: Final = 8
_STRICTEST: Final = 0.8
_INNER: Final = (0.2, 0.75)  # band in which CLVA's middle layers are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """An intervention for this trace.

    Attributes:
        name: Its class.
        intervention: The intervention, with head sets, layers and thresholds from this trace.
        evidence: How far the quantity that it edits lies on the side of hallucinated words at the words at risk: the
            mean rank among correct words (of this answer without a calibration), in [0, 1]; a half is usual.
        reason: One sentence.
    """

    name: str
    intervention: Intervention
    evidence: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What recommendations are made from.

    Attributes:
        trace: The trace.
        readings: Signals at the judged words.
        risks: The judged words.
        risky: Indices of those that are at risk, or of the one that ranks highest.
        bundled: Whether the bundled model made the trace.
        subject: What the risky words are called.
    """

    trace: Trace
    readings: WordReadings
    risks: tuple[WordRisk, ...]
    risky: tuple[int, ...]
    bundled: bool
    subject: str = "the words at risk"

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the decoder layers that have attention."""
        return self.trace.layer_indices

    def band(self, spec: LayerSpec) -> list[int]:
        """Layer numbers that a specification names in this trace.

        Args:
            spec: As in `lvlmscope.resolve_layers`.
        """
        return [self.layers[place] for place in chosen_layers(self.trace, spec)]

    @property
    def first_steps(self) -> list[int]:
        """First step of each risky word."""
        return [self.risks[number].steps[0] for number in self.risky]

    def suspicion(self, signal: str) -> dict[int, float]:
        """By layer, the mean rank of the words at risk on the side of hallucinated words; empty for a signal not read.

        Args:
            signal: A signal with layers.
        """
        if signal not in self.readings.values or not self.risky:
            return {}
        ranks = self.readings.suspicion(signal)[list(self.risky)]
        means = defined_mean(ranks, 0).tolist()
        return {
            layer: mean for layer, mean in zip(self.readings.layers[signal], means, strict=True) if math.isfinite(mean)
        }


def propose(case: Evidence) -> tuple[Recommendation, ...]:
    """All interventions that the trace has evidence for, the one with the most first.

    Args:
        case: The trace and what was read from it.
    """
    made = [proposal for make in _PROPOSERS if (proposal := make(case)) is not None]
    found = [proposal for proposal in made if math.isfinite(proposal.evidence)]
    return tuple(sorted(found, key=lambda proposal: -proposal.evidence))


def _dleaf(case: Evidence) -> Recommendation | None:
    """Layers that set the threshold, and those flagged at half of the words at risk or more."""
    ranks = case.suspicion("layer_image_entropy")
    if not ranks:
        return None
    flags = flagged_heads(case.trace).max("head")
    ever, often = flags.max("step"), flags.isel(step=case.first_steps).mean("step") >= 0.5
    edited = [int(layer) for layer in often["layer"].values[often.to_numpy()]]
    if not edited:
        return None
    layers = [layer for layer in case.trace.layer_indices if layer in edited or not ever.sel(layer=layer)]
    evidence = _mean(ranks, edited)
    reason = f"high entropy of image attention in {_layers(edited)} at {case.subject} ({_share(case, evidence)})"
    return Recommendation(name="DLEAF", intervention=DLEAF(layers=layers), evidence=evidence, reason=reason)


def _clva(case: Evidence) -> Recommendation | None:
    """The middle layers with the most image attention; deep ones after them."""
    ranks = case.suspicion("r_neg")
    if not ranks or len(case.layers) < 3:
        return None
    width = max(1, round(0.2 * len(case.layers)))
    inner = [layer for layer in case.band(_INNER) if layer not in {case.layers[0], case.layers[-1]}]
    mass = case.trace.rows().image_mass.mean((0, 2)).tolist()
    focus = dict(zip(case.layers, mass, strict=True))
    windows = [inner[n : n + width] for n in range(max(1, len(inner) - width + 1))]
    middle = max(windows, key=lambda window: np.mean([focus[layer] for layer in window]))
    initial = case.band(INITIAL)
    deep = [layer for layer in case.band(DEEP) if layer > max(*initial, *middle)]
    if not all(any(focus[layer] > 0 for layer in band) for band in (middle, deep)):
        return None
    evidence = _mean(ranks, deep)
    intervention = CLVA(initial=initial, middle=middle, deep=deep)
    reason = (
        f"image attention is highest in {_layers(middle)}; {_layers(deep, 'correlates', 'correlate')} with the noise "
        f"of the first layers at {case.subject} ({_share(case, evidence)})"
    )
    return Recommendation(name="CLVA", intervention=intervention, evidence=evidence, reason=reason)


def _locore(case: Evidence) -> Recommendation | None:
    """Layers of low saliency of the previous token at the words at risk; a window back to the word before."""
    ranks = case.suspicion("saliency_to_previous")
    if not ranks:
        return None
    weak = [layer for layer, rank in ranks.items() if rank > 0.5]
    evidence = _mean(ranks, list(ranks))  # over all layers: chosen by rank, the weak ones would always rank high
    starts = [word.steps[0] for word in case.risks]
    gaps = [step - max((s for s in starts if s < step), default=0) for step in case.first_steps]
    window = int(np.clip(np.median(gaps), 1, _LONGEST_WINDOW))
    reason = f"low saliency of the previous token at {case.subject} ({_share(case, evidence)})"
    reason += f", below the usual in {_layers(weak)}" if weak else ""
    intervention = LocoRE(layers=sorted(weak) or None, window=window)
    return Recommendation(name="LocoRE", intervention=intervention, evidence=evidence, reason=reason)


def _sgrs(case: Evidence) -> Recommendation | None:
    """A threshold that would have rejected the risky words, where that takes no more than 0.8; else the paper's."""
    plain = SGRS()
    layers = case.band(plain.layers)
    ranks = {layer: rank for layer, rank in case.suspicion("saliency_to_answer").items() if layer in layers}
    if not ranks:
        return None
    scores = saliency_to_answer(case.trace, layers=plain.layers).to_numpy()
    shares = [scores[step] / np.mean(scores[max(1, step - plain.W) : step]) for step in case.first_steps if step > 1]
    known = [share for share in shares if np.isfinite(share)]
    if not known:
        return None
    wanted = math.ceil(20 * float(max(known)) + 1e-6) / 20
    # Above that it would reject most words, risky or not, and spoil the text
    intervention = SGRS(alpha=wanted if plain.alpha < wanted <= _STRICTEST else plain.alpha)
    evidence = _mean(ranks, list(ranks))
    reason = (
        f"saliency of the answer so far at {case.subject} is at most {max(known):.0%} of that at the tokens before "
        f"({_share(case, evidence)})"
    )
    return Recommendation(name="SGRS", intervention=intervention, evidence=evidence, reason=reason)


def _rescaling(case: Evidence) -> Recommendation | None:
    """Heads by the trace's own ratios; the evidence is how little image attention the early layers have."""
    early = case.layers[: 1 + math.floor(0.26 * (len(case.layers) - 1))]
    ranks = {layer: rank for layer, rank in case.suspicion("image_attention_focus").items() if layer in early}
    if not ranks:
        return None
    try:
        intervention = HeadRescaling.from_trace(case.trace)
    except ModelInputError:  # heads too alike to be classed
        return None
    evidence = _mean(ranks, early)
    reason = f"little image attention in {_layers(early)} at {case.subject} ({_share(case, evidence)})"
    return Recommendation(name="HeadRescaling", intervention=intervention, evidence=evidence, reason=reason)


def _hallurnn(case: Evidence) -> Recommendation | None:
    """The bundled model's own cell; other models need one trained for them."""
    ranks = case.suspicion("cosine_drift")
    if not ranks or not case.bundled:
        return None
    evidence = _mean(ranks, list(ranks))
    most = max(ranks, key=lambda layer: ranks[layer])
    reason = (
        f"large cosine distance of hidden states between layers, largest at layer {most} ({_share(case, evidence)})"
    )
    return Recommendation(name="HalluRNN", intervention=HalluRNN(cell="tiny"), evidence=evidence, reason=reason)


_PROPOSERS: Final[tuple[Callable[[Evidence], Recommendation | None], ...]] = (
    _dleaf,
    _clva,
    _locore,
    _sgrs,
    _rescaling,
    _hallurnn,
)


def _mean(ranks: dict[int, float], layers: Sequence[int]) -> float:
    """Mean rank over those of the layers that have one; NaN where none has."""
    known = [ranks[layer] for layer in layers if layer in ranks]
    return float(np.mean(known)) if known else float("nan")


def _layers(layers: Sequence[int], one: str = "", many: str = "") -> str:
    """Their numbers, and a verb that agrees with how many they are."""
    return f"{_which(layers, 'layer', 'layers')} {ranges(layers)} {_which(layers, one, many)}".rstrip()


def _which(layers: Sequence[int], one: str, many: str) -> str:
    return one if len(layers) == 1 else many


def _share(case: Evidence, evidence: float) -> str:
    if case.readings.calibration is None:
        return f"rank {evidence:.2f} in this answer"
    return f"more so than {evidence:.0%} of correct words"
