"""`lvlmscope interventions`: every intervention, whose idea each part of it is, its parameters and its cost."""

import inspect
from typing import Any

from rich.markup import escape

from lvlmscope.cli.console import console, print_json
from lvlmscope.errors import InterventionError
from lvlmscope.interventions.registry import intervention_class, intervention_names

__all__ = ["intervention_facts", "run_interventions"]


def run_interventions(name: str | None = None, *, as_json: bool) -> None:
    """Prints one intervention, or all, those of other packages last.

    Args:
        name: The one to print, in any letter case.
        as_json: One JSON list instead of text.

    Raises:
        InterventionError: No intervention of that name.
    """
    names = [each for each in intervention_names() if name is None or each.lower() == name.lower()]
    if name is not None and not names:
        intervention_class(name)  # raises, with the names that there are
    found = [intervention_facts(each) for each in names]
    if as_json:
        print_json(found, default=str)
        return
    for facts in found:
        paper = f"  [dim]{escape(facts['paper'])}[/]" if facts["paper"] else ""
        console.print(f"[bold]{facts['name']}[/]{paper}", soft_wrap=True)
        for title, key in (
            ("the paper's", "from_paper"),
            ("our choices", "our_choices"),
            ("cost", "cost"),
            ("not usable", "error"),
        ):
            if facts.get(key):
                console.print(f"  {title}: {escape(facts[key])}", soft_wrap=True)
        parameters = ", ".join(f"{key}={value!r}" for key, value in facts["parameters"].items())
        if parameters:
            console.print(f"  parameters: {escape(parameters)}", soft_wrap=True)


def intervention_facts(name: str) -> dict[str, Any]:
    """What there is to know of one intervention, by heading; what its class does not tell is an empty text.

    >>> intervention_facts("LocoRE")["paper"], intervention_facts("LocoRE")["parameters"]["window"]
    ('arXiv 2601.20279', 5)
    """
    try:
        kind = intervention_class(name)
    except InterventionError as error:  # another package's, and broken: the list says so and goes on
        return {
            "name": name,
            "paper": "",
            "from_paper": "",
            "our_choices": "",
            "cost": "",
            "parameters": {},
            "error": str(error),
        }
    card = getattr(kind, "card", None)
    facts = {key: getattr(card, key, "") for key in ("paper", "from_paper", "our_choices", "cost")}
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: "required" if p.default is p.empty else p.default for p in parameters}
    return {"name": name, **facts, "parameters": defaults}
