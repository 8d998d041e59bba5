"""What a call does that leaves an option out: every default of the public API, and where `tune` looks, as they were.

A changed default changes results that people have published. Change it here too, and tell in CHANGELOG.md:

    python -m tests.contract.test_defaults
"""

import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import lvlmscope
from lvlmscope.interventions.registry import list_interventions

KNOWN = Path(__file__).with_name("defaults.json")
ROOMS = ("causal", "diagnostics", "evaluation", "interventions", "lenses", "plot", "risk", "sweeps", "training")


def public() -> Iterator[tuple[str, Any]]:
    """Functions and classes by their names: the package's, then those of rooms that have a face of their own."""
    for name in lvlmscope._HOMES:
        yield name, getattr(lvlmscope, name)
    for room in ROOMS:
        module = import_module(f"lvlmscope.{room}")
        for name in module.__all__:
            yield f"{room}.{name}", getattr(module, name)


def written(value: Any) -> str:
    """A default as one reads it."""
    named = getattr(value, "__name__", None)
    return named if callable(value) and named else repr(value)


def defaults() -> dict[str, dict[str, str]]:
    """By name, the options that have a default, and it; the search space of an intervention among them."""
    found: dict[str, dict[str, str]] = {}
    for name, value in public():
        if not callable(value) or (isinstance(value, type) and issubclass(value, BaseException)):
            continue
        given = inspect.signature(value).parameters.values()
        own = {each.name: written(each.default) for each in given if each.default is not each.empty}
        if own:
            found[name] = own
    for name, kind in list_interventions().items():
        if kind.__module__.startswith("lvlmscope.") and (card := getattr(kind, "card", None)) is not None:
            found[f"where tune looks: {name}"] = {option: repr(space) for option, space in card.search_space.items()}
    return found


def test_defaults_are_as_they_were() -> None:
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    found = defaults()
    assert len(found) > 100
    assert found == known


if __name__ == "__main__":
    KNOWN.write_text(json.dumps(defaults(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
