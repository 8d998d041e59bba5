"""Interventions by name: this package's own and those that other packages offer, and their configurations as JSON."""

import inspect
import json
import os
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from lvlmscope.errors import InterventionError, OutputError, message
from lvlmscope.runtime.protocol import Intervention

__all__ = [
    "GROUP",
    "intervention_class",
    "intervention_names",
    "list_interventions",
    "load_interventions",
    "save_interventions",
]

GROUP: Final = "lvlmscope.interventions"
_VERSION: Final = 1
_TODO: Final = (
    "lvlmscope interventions lists them; other packages add one by an entry point of the group lvlmscope.interventions"
)


def list_interventions() -> dict[str, type[Intervention]]:
    """All interventions by name: this package's first, then those of other packages in alphabetical order.

    Returns:
        The classes. Other packages offer one by an entry point of the group `lvlmscope.interventions`, whose name is
        the intervention's and whose value is the class.

    Raises:
        InterventionError: An entry point that cannot be loaded, is no intervention, or takes a name that is in use.
    """
    return {name: intervention_class(name) for name in intervention_names()}


def intervention_names() -> tuple[str, ...]:
    """Names of all interventions, without loading those of other packages.

    Raises:
        InterventionError: Two interventions of one name.
    """
    names = [*_own(), *sorted(point.name for point in _points())]
    twice = sorted({name for name in names if [n.lower() for n in names].count(name.lower()) > 1})
    if twice:
        got = f"{', '.join(twice)} from more than one package"
        raise InterventionError(
            message(got, "one intervention of each name", "uninstall one", task="list the interventions")
        )
    return tuple(names)


def intervention_class(name: str) -> type[Intervention]:
    """One intervention's class.

    Args:
        name: Its name in any letter case.

    Returns:
        The class.

    Raises:
        InterventionError: No such intervention, or its entry point cannot be loaded or is no intervention.

    >>> intervention_class("dleaf").__name__
    'DLEAF'
    """
    known = {each.lower(): each for each in intervention_names()}
    if name.lower() not in known:
        raise InterventionError(message(repr(name), ", ".join(known.values()), _TODO, task="switch on an intervention"))
    own = _own().get(known[name.lower()])
    return own or _loaded(next(point for point in _points() if point.name == known[name.lower()]))


def save_interventions(path: str | os.PathLike[str], interventions: Intervention | Sequence[Intervention]) -> None:
    """Write one intervention, or a stack in its order, as JSON.

    Args:
        path: File to write; an existing one is replaced.
        interventions: What to write.

    Raises:
        InterventionError: An intervention without a registered name, or with a parameter that JSON cannot hold.
        OutputError: The file cannot be written.
    """
    stack = [interventions] if isinstance(interventions, Intervention) else list(interventions)
    written = {"lvlmscope_interventions": _VERSION, "interventions": [_saved(each) for each in stack]}
    target = Path(path)
    try:
        target.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        got, expected = str(error.strerror or error), "a file in a folder that exists and can be written to"
        raise OutputError(
            message(got, expected, "choose another path", task=f"save interventions to {target}")
        ) from error


def load_interventions(path: str | os.PathLike[str]) -> tuple[Intervention, ...]:
    """Read what `save_interventions` wrote.

    Args:
        path: File to read.

    Returns:
        The interventions in the order in which they act: `lv.intervene(model, *lv.load_interventions(path))`.

    Raises:
        InterventionError: No such file, no interventions in it, or one that is not registered or refuses its
            parameters.
    """
    doing = f"load interventions from {Path(path)}"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        version, described = (
            found["lvlmscope_interventions"],
            [(d["name"], d["parameters"]) for d in found["interventions"]],
        )
    except OSError as error:
        got = str(error.strerror or error)
        raise InterventionError(message(got, "a file of save_interventions", "check the path", task=doing)) from error
    except (ValueError, KeyError, TypeError) as error:
        got = f"no such configuration ({type(error).__name__}: {error})"
        raise InterventionError(message(got, "a file of save_interventions", "save it again", task=doing)) from error
    if version != _VERSION:
        got, expected = f"format {version!r}", f"format {_VERSION}"
        raise InterventionError(message(got, expected, "use the version that wrote it", task=doing))
    return tuple(_made(name, parameters) for name, parameters in described)


def _own() -> dict[str, type[Intervention]]:
    """This package's interventions: whatever its front page exports that can be switched on."""
    package = import_module("lvlmscope.interventions")
    offered = {name: getattr(package, name) for name in package.__all__}
    return {name: value for name, value in offered.items() if _is_intervention(value)}


def _points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _loaded(point: EntryPoint) -> type[Intervention]:
    doing, fix = (
        f"load the intervention {point.name!r}",
        f"repair or uninstall {point.dist.name if point.dist else point.value}",
    )
    try:
        found: Any = point.load()
    except (ImportError, AttributeError) as error:
        got = f"{point.value}: {error}"
        raise InterventionError(message(got, "an importable class", fix, task=doing)) from error
    if not _is_intervention(found):
        got = f"{point.value}, of type {type(found).__name__}"
        raise InterventionError(message(got, "a class with start and describe", fix, task=doing))
    intervention: type[Intervention] = found
    return intervention


def _is_intervention(value: Any) -> bool:
    return (
        inspect.isclass(value)
        and callable(getattr(value, "start", None))
        and callable(getattr(value, "describe", None))
    )


def _saved(intervention: Intervention) -> dict[str, Any]:
    described = intervention.describe()
    name, doing = str(described.get("name", type(intervention).__name__)), f"save {type(intervention).__name__}"
    if intervention_class(name) is not type(intervention):
        got = f"the name {name!r}, which is {intervention_class(name).__name__}'s"
        raise InterventionError(message(got, "a name of its own", "register it under another name", task=doing))
    values = {key: getattr(intervention, key, None) for key in inspect.signature(type(intervention)).parameters}
    objects = [key for key, value in values.items() if not _plain(value)]
    if objects:
        got = f"{objects[0]}={type(values[objects[0]]).__name__} object"
        raise InterventionError(message(got, "numbers, texts, lists", "save the object, name its path", task=doing))
    return {"name": name, "reference": described.get("reference", ""), "parameters": described.get("parameters", {})}


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float | bool | os.PathLike)


def _made(name: Any, parameters: Any) -> Intervention:
    chosen = intervention_class(str(name))
    try:
        intervention = chosen(**parameters)
    except TypeError as error:
        expected = ", ".join(inspect.signature(chosen).parameters)
        raise InterventionError(message(f"{name}: {error}", expected, "change the file")) from error
    return intervention
