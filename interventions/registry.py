"""Remedies by name: this package's own and those that other packages offer, and their configurations as JSON."""

import inspect
import json
import os
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from lvlmscope.errors import OutputError, RemedyError, message
from lvlmscope.runtime.protocol import Intervention

__all__ = ["GROUP", "load_remedies", "registered", "remedy_class", "remedy_names", "save_remedies"]

GROUP: Final = "lvlmscope.interventions"
_VERSION: Final = 1
_TODO: Final = (
    "lvlmscope methods lists them; other packages add one by an entry point of the group lvlmscope.interventions"
)


def registered() -> dict[str, type[Intervention]]:
    """All remedies by name: this package's first, then those of other packages in alphabetical order.

    Returns:
        The classes. Other packages offer one by an entry point of the group `lvlmscope.interventions`, whose name is
        the remedy's and whose value is the class.

    Raises:
        RemedyError: An entry point that cannot be loaded, is no remedy, or takes a name that is in use.
    """
    return {name: remedy_class(name) for name in remedy_names()}


def remedy_names() -> tuple[str, ...]:
    """Names of all remedies, without loading those of other packages.

    Raises:
        RemedyError: Two remedies of one name.
    """
    names = [*_own(), *sorted(point.name for point in _points())]
    twice = sorted({name for name in names if [n.lower() for n in names].count(name.lower()) > 1})
    if twice:
        received = f"{', '.join(twice)} from more than one package"
        raise RemedyError(message("list the remedies", received, "one remedy of each name", "uninstall one"))
    return tuple(names)


def remedy_class(name: str) -> type[Intervention]:
    """One remedy's class.

    Args:
        name: Its name in any letter case.

    Returns:
        The class.

    Raises:
        RemedyError: No such remedy, or its entry point cannot be loaded or is no remedy.

    >>> remedy_class("dleaf").__name__
    'DLEAF'
    """
    known = {each.lower(): each for each in remedy_names()}
    if name.lower() not in known:
        raise RemedyError(message("switch on a remedy", repr(name), ", ".join(known.values()), _TODO))
    own = _own().get(known[name.lower()])
    return own or _loaded(next(point for point in _points() if point.name == known[name.lower()]))


def save_remedies(path: str | os.PathLike[str], remedies: Intervention | Sequence[Intervention]) -> None:
    """Write one remedy, or a stack in its order, as JSON.

    Args:
        path: File to write; an existing one is replaced.
        remedies: What to write.

    Raises:
        RemedyError: A remedy without a registered name, or with a parameter that JSON cannot hold.
        OutputError: The file cannot be written.
    """
    stack = [remedies] if isinstance(remedies, Intervention) else list(remedies)
    written = {"lvlmscope_remedies": _VERSION, "remedies": [_saved(each) for each in stack]}
    target = Path(path)
    try:
        target.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        received, possible = str(error.strerror or error), "a file in a folder that exists and can be written to"
        raise OutputError(message(f"save remedies to {target}", received, possible, "choose another path")) from error


def load_remedies(path: str | os.PathLike[str]) -> tuple[Intervention, ...]:
    """Read what `save_remedies` wrote.

    Args:
        path: File to read.

    Returns:
        The remedies in the order in which they act: `lv.intervene(model, *lv.load_remedies(path))`.

    Raises:
        RemedyError: No such file, no remedies in it, or one that is not registered or refuses its parameters.
    """
    asked = f"load remedies from {Path(path)}"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        version, described = found["lvlmscope_remedies"], [(d["name"], d["parameters"]) for d in found["remedies"]]
    except OSError as error:
        received = str(error.strerror or error)
        raise RemedyError(message(asked, received, "a file of save_remedies", "check the path")) from error
    except (ValueError, KeyError, TypeError) as error:
        received = f"no such configuration ({type(error).__name__}: {error})"
        raise RemedyError(message(asked, received, "a file of save_remedies", "save it again")) from error
    if version != _VERSION:
        received, possible = f"format {version!r}", f"format {_VERSION}"
        raise RemedyError(message(asked, received, possible, "use the version that wrote it"))
    return tuple(_made(asked, name, parameters) for name, parameters in described)


def _own() -> dict[str, type[Intervention]]:
    """This package's remedies: whatever its front page exports that can be switched on."""
    package = import_module("lvlmscope.interventions")
    offered = {name: getattr(package, name) for name in package.__all__}
    return {name: value for name, value in offered.items() if _is_remedy(value)}


def _points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _loaded(point: EntryPoint) -> type[Intervention]:
    asked, todo = (
        f"load the remedy {point.name!r}",
        f"repair or uninstall {point.dist.name if point.dist else point.value}",
    )
    try:
        found: Any = point.load()
    except (ImportError, AttributeError) as error:
        received = f"{point.value}: {error}"
        raise RemedyError(message(asked, received, "an importable class", todo)) from error
    if not _is_remedy(found):
        received = f"{point.value}, of type {type(found).__name__}"
        raise RemedyError(message(asked, received, "a class with start and describe", todo))
    remedy: type[Intervention] = found
    return remedy


def _is_remedy(value: Any) -> bool:
    return (
        inspect.isclass(value)
        and callable(getattr(value, "start", None))
        and callable(getattr(value, "describe", None))
    )


def _saved(remedy: Intervention) -> dict[str, Any]:
    described = remedy.describe()
    name, asked = str(described.get("name", type(remedy).__name__)), f"save {type(remedy).__name__}"
    if remedy_class(name) is not type(remedy):
        received = f"the name {name!r}, which is {remedy_class(name).__name__}'s"
        raise RemedyError(message(asked, received, "a name of its own", "register it under another name"))
    values = {key: getattr(remedy, key, None) for key in inspect.signature(type(remedy)).parameters}
    objects = [key for key, value in values.items() if not _plain(value)]
    if objects:
        received = f"{objects[0]}={type(values[objects[0]]).__name__} object"
        raise RemedyError(message(asked, received, "numbers, texts, lists", "save the object, name its path"))
    return {"name": name, "reference": described.get("reference", ""), "parameters": described.get("parameters", {})}


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float | bool | os.PathLike)


def _made(asked: str, name: Any, parameters: Any) -> Intervention:
    chosen = remedy_class(str(name))
    try:
        remedy = chosen(**parameters)
    except TypeError as error:
        possible = ", ".join(inspect.signature(chosen).parameters)
        raise RemedyError(message(asked, f"{name}: {error}", possible, "change the file")) from error
    return remedy
