"""Blocks of a title, a note and rows, rendered for a terminal, plain or in colour, and for Jupyter."""

import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Block", "as_html", "as_rich", "as_text", "configured", "ranges"]

_WIDTH = 110
_SHORT_RUN = 2  # numbers that are listed, not given by their ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block: a title, a note, and rows under a header.

    Attributes:
        title: What it is of.
        note: One line.
        header: Names of the columns.
        rows: Cells of each row.
        steps: Where each row is of one word, the step that began it; else empty.
        advice: What to do with it in Python.
    """

    title: str
    note: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    steps: tuple[int, ...] = ()
    advice: str = ""

    @property
    def line(self) -> str:
        """The note and the advice."""
        return ", ".join(text for text in (self.note, self.advice) if text)


def configured(intervention: Any) -> str:
    """An intervention as the call that makes it, parameters at their defaults left out, numbers to four digits.

    Args:
        intervention: An intervention: a dataclass with defaults.
    """
    plain = type(intervention)
    parameters = [
        f"{field.name}={_value(getattr(intervention, field.name))}"
        for field in fields(intervention)
        if getattr(intervention, field.name) != field.default
    ]
    return f"{plain.__name__}({', '.join(parameters)})"


def _value(value: Any) -> str:
    if isinstance(value, tuple) and value and all(type(each) is int for each in value):
        parts = [str(a) if a == b else f"*range({a}, {b + 1})" for a, b in _runs(value)]
        joined = ", ".join(parts)
        return joined.removeprefix("*") if len(parts) == 1 and joined.startswith("*") else f"[{joined}]"
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers in order, three or more in a row by their ends.

    Args:
        numbers: Layer numbers.

    >>> ranges([9, 2, 3, 4, 5, 8])
    '2-5, 8, 9'
    """
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in _runs(sorted(numbers)))


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of three or more that follow on each other, and of every other number by itself."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [
        pair
        for run in runs
        for pair in ([(run[0], run[-1])] if len(run) > _SHORT_RUN else [(number, number) for number in run])
    ]


def as_text(blocks: Sequence[Block]) -> str:
    """Plain text of at most 110 columns."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(as_rich(blocks))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def as_rich(blocks: Sequence[Block]) -> Any:
    """What rich prints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rendered: list[Any] = []
    for part in blocks:
        rendered.append(Text.assemble((part.title, "bold"), "  ", part.line))
        if part.rows:
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            for column in part.header:
                table.add_column(Text(column))
            for row in part.rows:
                table.add_row(*(Text(cell) for cell in row))
            rendered.append(table)
    return Group(*rendered)


def as_html(blocks: Sequence[Block]) -> str:
    """HTML that needs nothing else."""
    rendered = []
    for part in blocks:
        rendered.append(f"<p><b>{html.escape(part.title)}</b> {html.escape(part.line)}</p>")
        if part.rows:
            lines = [_html_row("th", part.header), *(_html_row("td", row) for row in part.rows)]
            rendered.append(f"<table>{''.join(lines)}</table>")
    return "".join(rendered)


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    row = "".join(f'<{tag} style="text-align:left;vertical-align:top">{html.escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{row}</tr>"
