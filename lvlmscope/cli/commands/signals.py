"""`lvlmscope signals`: the signals read at words, what each is read from and needs, which values are suspicious."""

from typing import Any

from rich.markup import escape

from lvlmscope.cli.console import console, print_json
from lvlmscope.evaluation.signal_registry import SIGNALS, list_signals

__all__ = ["run_signals", "signal_facts"]


def run_signals(*, as_json: bool) -> None:
    """Prints each signal, those of other packages among them, and the entry points that cannot be loaded.

    Args:
        as_json: One JSON list instead of text.
    """
    facts = signal_facts()
    if as_json:
        print_json(facts)
        return
    for each in facts:
        if "error" in each:
            console.print(
                f"[bold]{escape(each['name'])}[/]  [red]not usable[/]: {escape(each['error'])}", soft_wrap=True
            )
            continue
        side = f"{each['suspicious']} at hallucinated words" if each["suspicious"] else "no claim"
        needs = f"; needs {', '.join(each['needs'])}" if each["needs"] else ""
        whole = "" if each["stepwise"] else "; reads all steps together"
        console.print(f"[bold]{escape(each['name'])}[/]  [dim]{each['kind']}, {side}{needs}{whole}[/]", soft_wrap=True)
        if each["description"]:
            console.print(f"  {escape(each['description'])}", soft_wrap=True)


def signal_facts() -> list[dict[str, Any]]:
    """What there is to know of each signal, as JSON values; entry points that cannot be loaded come last, with `error`.

    >>> [each["needs"] for each in signal_facts() if each["name"] == "internal_confidence"]
    [['model']]
    """
    facts: list[dict[str, Any]] = [
        {
            "name": each.name,
            "kind": each.kind,
            "suspicious": each.suspicious,
            "needs": list(each.needs),
            "stepwise": each.stepwise,
            "description": each.description,
        }
        for each in list_signals()
    ]
    unknown: dict[str, Any] = {"kind": None, "suspicious": None, "needs": [], "stepwise": False, "description": ""}
    return [*facts, *({"name": point, **unknown, "error": reason} for point, reason in SIGNALS.broken.items())]
