"""``diagnose``: which words of an answer are at risk, what the layers and heads did, and which intervention fits."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isfinite
from pathlib import PurePath
from typing import Any

from lvlmscope.attention.entropy_threshold_rule import EntropyRule
from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, require_vocabulary
from lvlmscope.evaluation.signal_registry import chosen_signals
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.risk.at_risk_threshold import subject_of, usual_risk, words_at_risk
from lvlmscope.risk.calibration import Calibration, bundled_calibration
from lvlmscope.risk.cut_words import CutWord, cut_words
from lvlmscope.risk.diagnosis_report import parts_of
from lvlmscope.risk.findings import (
    Drift,
    FlaggedHead,
    FlaggedLayer,
    HeadShares,
    drift_of,
    flags_of,
    head_shares,
)
from lvlmscope.risk.recommendations import Evidence, Recommendation, propose
from lvlmscope.risk.report_tables import Block, as_html, as_rich, as_text
from lvlmscope.risk.word_risk import WordRisk, judged_words, read, word_risks
from lvlmscope.runtime.attachment import Handle, intervene
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.trace import Trace

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Diagnosis:
    """The diagnosis of one trace.

    Attributes:
        answer_tokens: The answer, as the text of each of its tokens.
        model: Name of the model.
        calibrated: Whether risks and ranges come from a calibration of the model.
        usual_risk: Share of hallucinated words in the calibration, the risk of a word that nothing is known of; NaN
            without.
        words: The judged words with their risks, in the order of the answer.
        risky: Those at risk: 1.5 times the usual risk, or half way from it to 1 where that is less; without a
            calibration the quarter that ranks highest, of which nothing more is known.
        layers: Layers that D-LEAF's own rule flags.
        heads: Heads that it would edit, most often flagged first.
        drift: Whether deep layers drift back to the first layers' noise; None where no layer can be compared.
        shares: Heads by function at the words at risk, or at the one that ranks highest, or over the answer where no
            word is judged; None where they cannot be distinguished.
        interventions: Interventions configured from this trace, the one with the most evidence first.
        left_out: Signals that the trace cannot give, with what they lack.
        cut: What each judged word loses when the image is cut off; empty where that was not asked for.
    """

    answer_tokens: tuple[str, ...]
    model: str
    calibrated: bool
    usual_risk: float
    words: tuple[WordRisk, ...]
    risky: tuple[WordRisk, ...]
    layers: tuple[FlaggedLayer, ...]
    heads: tuple[FlaggedHead, ...]
    drift: Drift | None
    shares: HeadShares | None
    interventions: tuple[Recommendation, ...]
    left_out: tuple[str, ...]
    cut: tuple[CutWord, ...] = ()

    @property
    def answer(self) -> str:
        """The answer."""
        return "".join(self.answer_tokens)

    def intervention(self, name: str | None = None) -> Recommendation:
        """A proposed intervention.

        Args:
            name: Its name in any letter case; None for the first.

        Raises:
            ModelInputError: None is proposed, or none of that name.
        """
        for proposal in self.interventions:
            if name is None or proposal.name.lower() == name.lower():
                return proposal
        expected = ", ".join(proposal.name for proposal in self.interventions) or "none for this trace"
        got = "no proposal at all" if name is None else repr(name)
        raise ModelInputError(message(got, expected, "choose one of them", task="apply an intervention"))

    def apply(self, model: Any, name: str | None = None) -> AbstractContextManager[Handle]:
        """Switches a proposed intervention on inside a `with` block.

        Args:
            model: What `load` gave, or a bare model.
            name: The intervention's name; None for the first.

        Returns:
            The context of `lvlmscope.intervene`.

        Raises:
            ModelInputError: None is proposed, or none of that name.
        """
        return intervene(model, self.intervention(name).intervention)

    def blocks(self) -> list[Block]:
        """The blocks it prints: title, note and rows, in order."""
        return parts_of(self)

    def __str__(self) -> str:
        """The table for a terminal, without colours."""
        return as_text(self.blocks())

    __repr__ = __str__

    def __rich__(self) -> Any:
        """The table for `rich.print`."""
        return as_rich(self.blocks())

    def _repr_html_(self) -> str:
        """The table for Jupyter."""
        return as_html(self.blocks())


@checked
@task("diagnose a trace")
@sharing_rows()
def diagnose(
    trace: Trace,
    calibration: Calibration | None = None,
    *,
    model: Any = None,
    words: Vocabulary | None = None,
    rule: EntropyRule | None = None,
    cut_image: bool = False,
) -> Diagnosis:
    """Which words are at risk, what layers and heads did, and which interventions fit, each configured from this trace.

    With a calibration a word's risk is a probability among object words of the calibration's images, from the signals
    that separated hallucinated from grounded words there; a signal is listed where it leaves the middle 90 % of correct
    words on the side of hallucinated ones. Without one, words are ranked among themselves on the sides that the papers
    claim, and the diagnosis says that it is not calibrated. The bundled model's calibration is found by itself.

    Interventions are ranked by how unusual, at the words at risk, the quantity is that they edit. That is a reason to
    try one, no promise: the effect over many images has to be measured (`lvlmscope eval --intervention`).

    Args:
        trace: A trace of an image; made with `gradients=True` and `hidden_states=True` it allows more signals.
        calibration: What `calibrate` gave for this model.
        model: The model: then what its image tokens spell is read too, in one more forward.
        words: Which words name objects; None for the calibration's. Without either, every word is judged but English
            function words (articles, prepositions, pronouns, auxiliaries, conjunctions).
        rule: D-LEAF's threshold and choice of heads, by which layers and heads are flagged.
        cut_image: Also cut the image off (`lvlmscope.knockout`), in all layers and in three at a time: what each judged
            word loses. It needs the model and runs it once for each layer; it changes no risk.

    Returns:
        The diagnosis, which prints as a table.

    Raises:
        ModelInputError: No trace, no image keys, an empty answer, a calibration of a model of another size, or
            `cut_image` without a model or with a trace that `knockout` refuses.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> found = diagnose(planted_trace(steps=6))
    >>> found.calibrated, len(found.words)
    (False, 6)
    """
    trace = require_trace(trace)
    if calibration is not None:
        require_kind("calibration", calibration, Calibration, "a Calibration (Calibration.load reads one)")
    calibration = calibration or _own(trace)
    _check(trace, calibration)
    if cut_image and model is None:
        raise ModelInputError(message("cut_image=True without a model", "the model that made the trace", "pass model="))
    own = None if words is None else require_vocabulary(words)
    judged = judged_words(trace, own or (calibration.vocabulary if calibration else None))
    signals, left_out = chosen_signals(None, trace, model)
    tokens = calibration.tokens if calibration else "first"
    readings = read(trace, judged, signals, calibration=calibration, model=model, tokens=tokens)
    risks = word_risks(readings)
    layers, heads = flags_of(trace, EntropyRule() if rule is None else rule)
    usual = usual_risk(calibration)
    risky = words_at_risk(risks, usual)
    # Where no word is at risk, the interventions are configured for the one that ranks highest
    subject = risky or tuple(sorted(range(len(risks)), key=lambda number: -_known(risks[number].risk))[:1])
    case = Evidence(
        trace=trace,
        readings=readings,
        risks=risks,
        risky=subject,
        bundled=_is_bundled(trace),
        subject=subject_of(risks, risky, calibrated=calibration is not None),
    )
    return Diagnosis(
        answer_tokens=trace.answer_tokens,
        model=_name(trace),
        calibrated=calibration is not None,
        usual_risk=usual,
        words=risks,
        risky=tuple(risks[number] for number in risky),
        layers=layers,
        heads=heads,
        drift=drift_of(trace),
        shares=head_shares(trace, case.first_steps or range(trace.num_steps)),
        interventions=propose(case),
        left_out=left_out,
        cut=cut_words(trace, model, judged) if cut_image else (),
    )


def _known(risk: float) -> float:
    return risk if isfinite(risk) else 0.0


def _name(trace: Trace) -> str:
    return str(trace.provenance.get("model", {}).get("name", ""))


def _own(trace: Trace) -> Calibration | None:
    """The bundled calibration, for traces of the bundled model."""
    return bundled_calibration() if _is_bundled(trace) else None


def _is_bundled(trace: Trace) -> bool:
    name = _name(trace)
    return name == "tiny" or PurePath(name).parts[-3:] == ("lvlmscope", "tiny", "model")


def _check(trace: Trace, calibration: Calibration | None) -> None:
    if not bool(trace.image_keys.any()) or not trace.num_steps:
        got = "a trace without image keys" if trace.num_steps else "an empty answer"
        raise ModelInputError(message(got, "an answer about an image", "trace a prompt with an image"))
    if calibration is None:
        return
    sizes = (trace.num_layers, trace.num_heads)
    expected = (calibration.num_layers, calibration.num_heads)
    if sizes != expected:
        got = f"{sizes[0]} layers of {sizes[1]} heads, and a calibration of {calibration.model!r}"
        fitting = f"{expected[0]} layers of {expected[1]} heads"
        raise ModelInputError(message(got, fitting, "give the calibration of the trace's model"))
