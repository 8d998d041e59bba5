"""The tables that a diagnosis prints: words, layers, heads, drift and interventions."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from lvlmscope.risk.at_risk_threshold import subject_of
from lvlmscope.risk.report_tables import Block, configured, ranges

if TYPE_CHECKING:
    from lvlmscope.risk.diagnosis import Diagnosis
    from lvlmscope.risk.findings import Drift
    from lvlmscope.risk.word_risk import WordRisk

__all__ = ["parts_of"]

_MOST = 8  # heads, words and signals that are listed


def parts_of(diagnosis: "Diagnosis") -> list[Block]:
    """The blocks of a diagnosis, in order."""
    parts = [Block(title="answer", note=" ".join(diagnosis.answer.split())), _words(diagnosis)]
    parts += [_layers(diagnosis), _heads(diagnosis)]
    if diagnosis.drift is not None:
        parts.append(_drift(diagnosis.drift))
    if diagnosis.cut:
        parts.append(Block(title="image cut off", note="; ".join(map(str, diagnosis.cut[:_MOST]))))
    parts.append(_interventions(diagnosis))
    if diagnosis.left_out:
        parts.append(Block(title="not read", note=", ".join(diagnosis.left_out)))
    return parts


def _words(diagnosis: "Diagnosis") -> Block:
    if diagnosis.calibrated:
        note = f"risk of being hallucinated; {diagnosis.usual_risk:.0%} is usual; ranges: 90 % of correct words"
    else:
        note = (
            "NOT CALIBRATED: ranks among this answer's words, 1 the most suspicious, no probabilities "
            "(lvlmscope.calibrate makes ranges)"
        )
    shown = sorted(diagnosis.words, key=lambda word: -word.risk if isfinite(word.risk) else 1.0)[:_MOST]
    left = len(diagnosis.words) - len(shown)
    if not diagnosis.words:
        note += "; no word to judge"
    elif not _ranked(diagnosis):
        note += "; too few words, or signals without values, to rank any"
    elif diagnosis.calibrated:
        note += "" if diagnosis.risky else "; no word is far above it"
        note += "; risks are frequencies: a grounded word can rank above a hallucinated one"
    rows = tuple(
        (word.text, _judgement(diagnosis, word, rank), "; ".join(str(one) for one in word.raised[:3]) or "-")
        for rank, word in enumerate(shown, start=1)
    )
    return Block(
        title="words",
        note=note + (f"; {left} more {'word ranks' if left == 1 else 'words rank'} lower" if left else ""),
        header=("word", "risk" if diagnosis.calibrated else "rank", "raised by"),
        rows=rows,
        steps=tuple(word.steps[0] for word in shown),
    )


def _judgement(diagnosis: "Diagnosis", word: "WordRisk", rank: int) -> str:
    """A word's risk, marked where it is at risk; without a calibration its place among the words."""
    if not isfinite(word.risk):
        return "-"
    if not diagnosis.calibrated:
        return str(rank)
    return f"{word.risk:.0%}" + (" !" if word in diagnosis.risky else "")


def _subject(diagnosis: "Diagnosis") -> str:
    return subject_of(diagnosis.words, diagnosis.risky, calibrated=diagnosis.calibrated)


def _ranked(diagnosis: "Diagnosis") -> bool:
    """Whether any word has a risk."""
    return any(isfinite(word.risk) for word in diagnosis.words)


def _layers(diagnosis: "Diagnosis") -> Block:
    if not diagnosis.layers:
        return Block(title="flagged layers", note="by D-LEAF's rule: none")
    shares = _span([one.share for one in diagnosis.layers], "{:.0%}")
    heads = _span([one.heads for one in diagnosis.layers], "{:.1f}")
    note = (
        f"by D-LEAF's rule: {ranges(one.layer for one in diagnosis.layers)}, each at {shares} of tokens, {heads} heads"
    )
    if any(one.name == "DLEAF" for one in diagnosis.interventions):
        where = f"half of {_subject(diagnosis)} or more" if diagnosis.risky else _subject(diagnosis)
        note += (
            f"; DLEAF is proposed for those flagged at {where}, and for layers never flagged, which set its threshold"
        )
    return Block(title="flagged layers", note=note)


def _span(values: Sequence[float], form: str) -> str:
    """The least and the greatest value, once where they read alike."""
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def _heads(diagnosis: "Diagnosis") -> Block:
    texts = [f"{one.layer}.{one.head} ({one.share:.0%})" for one in diagnosis.heads[:_MOST]]
    note = f"most often flagged, layer.head: {', '.join(texts) or 'none'}"
    if diagnosis.shares is not None:
        shares = diagnosis.shares
        note += (
            f"; at {_subject(diagnosis)}: perception {shares.perception:.1%}, reasoning {shares.reasoning:.1%} of all "
            f"(over the answer 3.2% each, by their thresholds), mean attention on the image {shares.ratio:.0%}"
        )
    return Block(title="heads", note=note)


def _drift(drift: "Drift") -> Block:
    verdict = "deep layers drift back towards" if drift.towards_noise else "deep layers do not drift back towards"
    visual = f"{drift.r_pos_middle:.2f} and {drift.r_pos_deep:.2f}"
    note = (
        f"{verdict} the first layers' noise: correlation with it {drift.r_neg_middle:.2f} in middle and "
        f"{drift.r_neg_deep:.2f} in deep layers, with the visual anchor {visual}"
    )
    return Block(title="drift", note=note)


def _interventions(diagnosis: "Diagnosis") -> Block:
    rows = tuple(
        (str(rank), configured(one.intervention), _evidence(diagnosis, one.evidence), one.reason)
        for rank, one in enumerate(diagnosis.interventions, start=1)
    )
    if not rows:
        return Block(title="interventions", note="none: no word to judge, or nothing to configure")
    note = ""
    if not diagnosis.risky:
        note = f"{'no word is at risk; ' if _ranked(diagnosis) else ''}for {_subject(diagnosis)}"
    header, advice = ("", "intervention", "evidence", "because"), "diagnosis.apply(model) applies the first"
    return Block(title="interventions", note=note, header=header, rows=rows, advice=advice)


def _evidence(diagnosis: "Diagnosis", evidence: float) -> str:
    return f"{evidence:.0%}" if diagnosis.calibrated else f"{evidence:.2f} (unscaled)"
