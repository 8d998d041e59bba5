"""A diagnosis as a short table: for a terminal, plain or in colour, and for Jupyter."""

import html
import io
from dataclasses import dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvlmscope.diagnosis.diagnosing import Diagnosis
    from lvlmscope.diagnosis.findings import Drift

__all__ = ["Part", "as_html", "as_rich", "as_text", "configured", "parts_of"]

_WIDTH = 110
_MOST = 8  # heads, words and signals that are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One block: a title, a note, and rows under a header."""

    title: str
    note: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def configured(intervention: Any) -> str:
    """A remedy as the call that makes it, parameters at their defaults left out, numbers to four digits.

    Args:
        intervention: A remedy: a dataclass with defaults.
    """
    plain = type(intervention)
    told = [
        f"{field.name}={_value(getattr(intervention, field.name))}"
        for field in fields(intervention)
        if getattr(intervention, field.name) != field.default
    ]
    return f"{plain.__name__}({', '.join(told)})"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def as_text(diagnosis: "Diagnosis") -> str:
    """Plain text of at most 110 columns.

    Args:
        diagnosis: What to tell.
    """
    from rich.console import Console

    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(as_rich(diagnosis))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def as_rich(diagnosis: "Diagnosis") -> Any:
    """What rich prints.

    Args:
        diagnosis: What to tell.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    blocks: list[Any] = []
    for part in parts_of(diagnosis):
        blocks.append(Text.assemble((part.title, "bold"), "  ", part.note))
        if part.rows:
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            for column in part.header:
                table.add_column(Text(column))
            for row in part.rows:
                table.add_row(*(Text(cell) for cell in row))
            blocks.append(table)
    return Group(*blocks)


def as_html(diagnosis: "Diagnosis") -> str:
    """HTML that needs nothing else.

    Args:
        diagnosis: What to tell.
    """
    blocks = []
    for part in parts_of(diagnosis):
        blocks.append(f"<p><b>{html.escape(part.title)}</b> {html.escape(part.note)}</p>")
        if part.rows:
            lines = [_html_row("th", part.header), *(_html_row("td", row) for row in part.rows)]
            blocks.append(f"<table>{''.join(lines)}</table>")
    return "".join(blocks)


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    told = "".join(f'<{tag} style="text-align:left;vertical-align:top">{html.escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{told}</tr>"


def parts_of(diagnosis: "Diagnosis") -> list[Part]:
    """The blocks of a diagnosis, in order.

    Args:
        diagnosis: What to tell.
    """
    parts = [Part(title="answer", note=" ".join(diagnosis.answer.split())), _words(diagnosis)]
    parts += [_layers(diagnosis), _heads(diagnosis)]
    if diagnosis.drift is not None:
        parts.append(_drift(diagnosis.drift))
    parts.append(_remedies(diagnosis))
    if diagnosis.left_out:
        parts.append(Part(title="not read", note=", ".join(diagnosis.left_out)))
    return parts


def _words(diagnosis: "Diagnosis") -> Part:
    if diagnosis.calibrated:
        note = f"risk of being made up; {diagnosis.usual_risk:.0%} is usual; ranges: 90 % of correct words"
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
    return Part(
        title="words",
        note=note + (f"; {left} more words rank lower" if left else ""),
        header=("word", "risk", "raised by"),
        rows=rows,
    )


def _ranked(diagnosis: "Diagnosis") -> bool:
    """Whether any word has a risk."""
    return any(isfinite(word.risk) for word in diagnosis.words)


def _layers(diagnosis: "Diagnosis") -> Part:
    told = [f"{one.layer} ({one.share:.0%} of tokens, {one.heads:.1f} heads)" for one in diagnosis.layers]
    return Part(title="flagged layers", note=f"by D-LEAF's rule: {', '.join(told) or 'none'}")


def _heads(diagnosis: "Diagnosis") -> Part:
    told = [f"{one.layer}.{one.head} ({one.share:.0%})" for one in diagnosis.heads[:_MOST]]
    note = f"most often flagged, layer.head: {', '.join(told) or 'none'}"
    if diagnosis.shares is not None:
        shares = diagnosis.shares
        note += (
            f"; perception {shares.perception:.0%}, reasoning {shares.reasoning:.0%} of all; "
            f"mean attention on the image {shares.ratio:.0%}"
        )
    return Part(title="heads", note=note)


def _drift(drift: "Drift") -> Part:
    verdict = "deep layers go back towards" if drift.towards_noise else "deep layers do not go back towards"
    visual = f"{drift.r_pos_middle:.2f} and {drift.r_pos_deep:.2f}"
    note = (
        f"{verdict} the first layers' noise: correlation with it {drift.r_neg_middle:.2f} in middle and "
        f"{drift.r_neg_deep:.2f} in deep layers, with the visual anchor {visual}"
    )
    return Part(title="drift", note=note)


def _remedies(diagnosis: "Diagnosis") -> Part:
    rows = tuple(
        (str(rank), configured(one.intervention), f"{one.evidence:.0%}", one.reason)
        for rank, one in enumerate(diagnosis.remedies, start=1)
    )
    note = "diagnosis.apply(model) switches the first on" if rows else "none: no word to judge, or nothing to configure"
    if rows and not diagnosis.risky:
        subject = "no word is at risk; for the one that ranks highest" if _ranked(diagnosis) else "for the first word"
        note = f"{subject}, {note}"
    return Part(title="remedies", note=note, header=("", "remedy", "evidence", "because"), rows=rows)
