"""Tables for terminals of any width: row names are never cut, and columns that do not fit follow in a table below."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

__all__ = ["print_markdown", "print_table"]

_FRAME: Final = 3  # characters of a column beside its text: two of padding, one of border
_BAR: Final = "\\|"  # a bar inside a cell of Markdown


def print_table(
    console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1
) -> None:
    """Prints a table whose row names are whole, in as many parts below each other as the terminal's width asks for.

    Args:
        console: Where to. Into a file or a pipe the table is written in one part, as wide as it is.
        title: Line above the first part; none when empty.
        heads: Names of the columns, the empty one of the row names first.
        rows: Row name and cells of each row.
        names: Columns that name a row, repeated in each part.
    """
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    whole = sum(widths) + _FRAME * len(widths) + 1
    drawn = console if console.is_terminal else Console(file=console.file, width=whole, highlight=False)
    for number, chosen in enumerate(_parts(widths, names, drawn.width)):
        table = Table(title=title if title and number == 0 else None, title_justify="left")
        sizes = _fitted(widths, names, chosen, drawn.width)
        for column, size in sizes.items():
            named = column < names
            table.add_column(heads[column], overflow="fold", width=size, justify="left" if named else "right")
        for row in rows:
            table.add_row(*(row[column] for column in sizes))
        drawn.print(table, markup=False)


def print_markdown(console: Console, text: str) -> None:
    """Prints Markdown: as it is into a file or a pipe, with drawn tables on a terminal.

    Args:
        console: Where to.
        text: Paragraphs and tables with empty lines between them.
    """
    if not console.is_terminal:
        console.print(text, soft_wrap=True, markup=False)
        return
    for block in text.strip().split("\n\n"):
        if block.startswith("|"):
            heads, _, *rows = [_cells(line) for line in block.splitlines()]
            unnamed = next((place for place, head in enumerate(heads) if head), len(heads))
            print_table(console, "", heads, rows, names=max(unnamed, 1))
        else:
            console.print(block, markup=False)


def _cells(line: str) -> list[str]:
    """Cells of one line of a Markdown table."""
    return [cell.strip().replace("\0", "|") for cell in line.strip().replace(_BAR, "\0")[1:-1].split("|")]


def _room(widths: Sequence[int], names: int, width: int) -> int:
    """Characters for columns beside the row names: half of the width at least, for which long row names fold."""
    return max(width - sum(widths[:names]) - _FRAME * names - 1, width // 2)


def _parts(widths: Sequence[int], names: int, width: int) -> Iterator[list[int]]:
    """Columns of each part: as many as fit beside the row names, one at least."""
    room = _room(widths, names, width)
    chosen: list[int] = []
    taken = 0
    for column in range(names, len(widths)):
        if chosen and taken + widths[column] + _FRAME > room:
            yield chosen
            chosen, taken = [], 0
        chosen.append(column)
        taken += widths[column] + _FRAME
    yield chosen


def _fitted(widths: Sequence[int], names: int, chosen: Sequence[int], width: int) -> dict[int, int]:
    """Width of each column of a part: its own, where it fits; the widest row name, else, takes what is left."""
    room = _room(widths, names, width)
    sizes = {column: widths[column] for column in range(names)}
    sizes |= {column: max(min(widths[column], room - _FRAME), 1) for column in chosen}
    over = sum(sizes.values()) + _FRAME * len(sizes) + 1 - width
    if over > 0:
        longest = max(range(names), key=widths.__getitem__)
        sizes[longest] = max(sizes[longest] - over, 1)
    return sizes
