"""What the commands print: captions with coloured words, heads in order, tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lvlmscope.cli.tables import print_table
from lvlmscope.diagnostics import visual_attention_ratio
from lvlmscope.evaluation import Mention
from lvlmscope.traces.trace import Trace

__all__ = ["coloured", "console", "extreme_heads", "plain_output", "print_json", "print_scores"]

console = Console(highlight=False)


def coloured(answer: str, mentions: Sequence[Mention], present: frozenset[str] | None) -> Text:
    """An answer with object words green where they are grounded and red, underlined, where they are hallucinated.

    Where colours are not shown (a file, a pipe, `NO_COLOR`) hallucinated words stand between asterisks.

    Args:
        mentions: Its object words.
        present: Categories in the image; None when they are not known: nothing is coloured.
    """
    text, place = Text(), 0
    for mention in sorted(mentions, key=lambda one: one.start) if present is not None else ():
        grounded = present is not None and mention.category in present
        word = answer[mention.start : mention.end]
        text.append(answer[place : mention.start])
        text.append(
            word if grounded or not plain_output() else f"*{word}*", "bold green" if grounded else "bold red underline"
        )
        place = mention.end
    return text.append(answer[place:])


def plain_output() -> bool:
    """Whether what is printed shows no colours."""
    return console.color_system is None or console.no_color


def extreme_heads(trace: Trace, count: int = 3) -> tuple[str, str]:
    """The heads with the greatest and the least share of attention on the image, mean over the answer's words."""
    ratio = visual_attention_ratio(trace, step="mean").stack(place=("layer", "head"))
    order = ratio.sortby(ratio, ascending=False)

    def listed(part: int | slice) -> str:
        chosen = order.isel(place=part)
        places = zip(chosen.coords["layer"].values, chosen.coords["head"].values, chosen.values, strict=True)
        return ", ".join(f"layer {layer} head {head} ({value:.0%})" for layer, head, value in places)

    return listed(slice(None, count)), listed(slice(-count, None))


def print_json(value: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Prints a value as JSON, which stays JSON in an output encoding without its characters.

    Args:
        value: What `json.dumps` takes.
        default: As of `json.dumps`.
    """
    console.print_json(json.dumps(value, default=default), ensure_ascii=not console.encoding.startswith("utf"))


def print_scores(title: str, rows: Mapping[str, Mapping[str, int | float]]) -> None:
    """Prints scores as a table: shares with three decimals, counts without.

    Args:
        title: Line above it.
        rows: Scores by name, of each row by its name.
    """
    cells = [
        [name, *(str(value) if isinstance(value, int) else f"{value:.3f}" for value in scores.values())]
        for name, scores in rows.items()
    ]
    print_table(console, title, ["", *next(iter(rows.values()))], cells)
