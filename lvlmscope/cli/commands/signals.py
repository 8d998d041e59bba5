"""`lvlmscope signals`: every signal that is read at words, what it is read from, needs and is taken for."""

import json
from typing import Any

from rich.table import Table

from lvlmscope.cli.console import console
from lvlmscope.evaluation.signal_registry import list_signals

__all__ = ["run_signals", "signal_facts"]


def run_signals(*, as_json: bool) -> None:
    """Prints one row per signal, those of other packages among them.

    Args:
        as_json: One JSON list instead of a table.
    """
    facts = signal_facts()
    if as_json:
        console.print_json(json.dumps(facts))
        return
    table = Table(title="signals that are read at words")
    for name in ("signal", "read from", "hallucinated words", "needs", "what it is"):
        table.add_column(name, overflow="fold")
    for each in facts:
        side = each["suspicious"] or "no claim"
        table.add_row(each["name"], each["kind"], side, ", ".join(each["needs"]) or "-", each["description"])
    console.print(table)


def signal_facts() -> list[dict[str, Any]]:
    """What there is to know of each signal, as JSON values.

    >>> [each["needs"] for each in signal_facts() if each["name"] == "internal_confidence"]
    [['model']]
    """
    return [
        {
            "name": each.name,
            "kind": each.kind,
            "suspicious": each.suspicious,
            "needs": list(each.needs),
            "description": each.description,
        }
        for each in list_signals()
    ]
