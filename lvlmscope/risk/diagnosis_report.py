"""The tables that a diagnosis prints: words, layers, heads, drift and interventions."""

from math import isfinite
from typing import TYPE_CHECKING

from lvlmscope.risk.report_tables import Block, configured

if TYPE_CHECKING:
    from lvlmscope.risk.diagnosis import Diagnosis
    from lvlmscope.risk.findings import Drift

__all__ = ["parts_of"]

_MOST = 8  # heads, words and signals that are listed


def parts_of(diagnosis: "Diagnosis") -> list[Block]:
    """The blocks of a diagnosis, in order."""
    parts = [Block(title="answer", note=" ".join(diagnosis.answer.split())), _words(diagnosis)]
    parts += [_layers(diagnosis), _heads(diagnosis)]
    if diagnosis.drift is not None:
        parts.append(_drift(diagnosis.drift))
    parts.append(_interventions(diagnosis))
    if diagnosis.left_out:
        parts.append(Block(title="not read", note=", ".join(diagnosis.left_out)))
    return parts


def _words(diagnosis: "Diagnosis") -> Block:
    if diagnosis.calibrated:
        note = f"risk of being hallucinated; {diagnosis.usual_risk:.0%} is usual; ranges: 90 % of correct words"
    else:
        note = "NOT CALIBRATED: ranks among this answer's words, no probabilities (lvlmscope.calibrate makes ranges)"
    shown = sorted(diagnosis.words, key=lambda word: -word.risk if isfinite(word.risk) else 1.0)[:_MOST]
    left = len(diagnosis.words) - len(shown)
    if not diagnosis.words:
        note += "; no word to judge"
    elif not _ranked(diagnosis):
        note += "; too few words, or signals without values, to rank any"
    rows = tuple(
        (
            word.text,
            (f"{word.risk:.0%}" if isfinite(word.risk) else "-") + (" !" if word in diagnosis.risky else ""),
            "; ".join(str(one) for one in word.raised[:3]) or "-",
        )
        for word in shown
    )
    return Block(
        title="words",
        note=note + (f"; {left} more words rank lower" if left else ""),
        header=("word", "risk", "raised by"),
        rows=rows,
    )


def _ranked(diagnosis: "Diagnosis") -> bool:
    """Whether any word has a risk."""
    return any(isfinite(word.risk) for word in diagnosis.words)


def _layers(diagnosis: "Diagnosis") -> Block:
    texts = [f"{one.layer} ({one.share:.0%} of tokens, {one.heads:.1f} heads)" for one in diagnosis.layers]
    return Block(title="flagged layers", note=f"by D-LEAF's rule: {', '.join(texts) or 'none'}")


def _heads(diagnosis: "Diagnosis") -> Block:
    texts = [f"{one.layer}.{one.head} ({one.share:.0%})" for one in diagnosis.heads[:_MOST]]
    note = f"most often flagged, layer.head: {', '.join(texts) or 'none'}"
    if diagnosis.shares is not None:
        shares = diagnosis.shares
        note += (
            f"; perception {shares.perception:.0%}, reasoning {shares.reasoning:.0%} of all; "
            f"mean attention on the image {shares.ratio:.0%}"
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
        (str(rank), configured(one.intervention), f"{one.evidence:.0%}", one.reason)
        for rank, one in enumerate(diagnosis.interventions, start=1)
    )
    note = "diagnosis.apply(model) applies the first" if rows else "none: no word to judge, or nothing to configure"
    if rows and not diagnosis.risky:
        subject = "no word is at risk; for the one that ranks highest" if _ranked(diagnosis) else "for the first word"
        note = f"{subject}, {note}"
    return Block(title="interventions", note=note, header=("", "intervention", "evidence", "because"), rows=rows)
