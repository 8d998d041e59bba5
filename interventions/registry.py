"""Registry of interventions: the decorator that adds one, look-up by name, and configurations as JSON."""

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from lvlmscope.errors import InterventionError, OutputError, message, task
from lvlmscope.interface.paths import path_of
from lvlmscope.registry import Registry, close_match
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.atomic_write import whole_file

__all__ = [
    "INTERVENTIONS",
    "intervention",
    "intervention_class",
    "intervention_names",
    "list_interventions",
    "load_interventions",
    "make_intervention",
    "save_interventions",
]

_VERSION: Final = 1
Kind = TypeVar("Kind", bound=type[Intervention])


def _adopted(value: Any) -> type[Intervention]:
    """A class that is registered or offered by an entry point, as an intervention's.

    Raises:
        InterventionError: It is none, or the dataclass decorator stands above the registering one.
    """
    methods = (getattr(value, name, None) for name in ("start", "describe"))
    if not (inspect.isclass(value) and all(map(callable, methods))):
        got = f"{value!r}"[:80] + f", of type {type(value).__name__}"
        expected, fix = "a class with start and describe", "base it on lv.InterventionConfig and give it a start"
        raise InterventionError(message(got, expected, fix, task="register an intervention"))
    if issubclass(value, InterventionConfig) and not is_dataclass(value):
        got, expected = f"{value.__name__}, which is no dataclass", "a frozen dataclass"
        fix = "put @intervention above @dataclass(frozen=True, slots=True, kw_only=True)"
        raise InterventionError(message(got, expected, fix, task="register an intervention"))
    return cast("type[Intervention]", value)


INTERVENTIONS: Final[Registry[type[Intervention]]] = Registry(
    "intervention", "lvlmscope.interventions", InterventionError, adopt=_adopted
)


def intervention(kind: Kind) -> Kind:
    """Registers the class below it under its own name: `list_interventions`, files and the command line know it then.

    Args:
        kind: A class with `start` and `describe`, as a rule a dataclass on `InterventionConfig`. This decorator stands
            above `@dataclass`.

    Returns:
        The class itself.

    Raises:
        InterventionError: The name is taken, or the class is no intervention.
    """
    INTERVENTIONS.register(kind.__name__, _adopted(kind))
    return kind


def list_interventions() -> dict[str, type[Intervention]]:
    """All interventions by name: registered ones first, then those of other packages in alphabetical order.

    Returns:
        The classes. Other packages offer one by an entry point of the group `lvlmscope.interventions`, whose name is
        the intervention's and whose value is the class.

    Raises:
        InterventionError: An entry point that cannot be loaded, is no intervention, or takes a name that is in use.
    """
    return dict(INTERVENTIONS)


def intervention_names() -> tuple[str, ...]:
    """Names of all interventions; those of other packages are not imported for it.

    Raises:
        InterventionError: Two interventions of one name.
    """
    return tuple(INTERVENTIONS)


def intervention_class(name: str) -> type[Intervention]:
    """One intervention's class.

    Args:
        name: Its name in any letter case.

    Returns:
        The class.

    Raises:
        InterventionError: No such intervention: the message suggests a close name. Or its entry point cannot be loaded
            or is no intervention.

    >>> intervention_class("dleaf").__name__
    'DLEAF'
    """
    own = "register one of your own with @lv.intervention (on the command line in a file that --load names)"
    fix = f"list them with lvlmscope interventions, or {own}"
    return INTERVENTIONS.find(name, task="look up an intervention", fix=fix)


def make_intervention(name: str, parameters: Mapping[str, Any]) -> Intervention:
    """An intervention from a name and parameters, as files and the command line give them.

    Args:
        name: Its name in any letter case.
        parameters: Values by parameter name.

    Returns:
        The intervention.

    Raises:
        InterventionError: No such intervention, no such parameter, a required one missing, or a value of another type.
        ModelInputError: A value out of range, or not among the choices.

    >>> make_intervention("dleaf", {"gamma": 0.5}).describe()["parameters"]["gamma"]
    0.5
    """
    kind = intervention_class(name)
    known = inspect.signature(kind).parameters
    doing = f"configure {kind.__name__}"
    for each in parameters:
        if each not in known:
            close = close_match(str(each), known)
            fix = f"did you mean {close!r}" if close else "choose among these"
            raise InterventionError(message(f"the parameter {each!r}", ", ".join(known), fix, task=doing))
    missing = [each for each, one in known.items() if one.default is one.empty and each not in parameters]
    if missing:
        got, fix = f"no value of {', '.join(missing)}", "give every parameter that has no default"
        raise InterventionError(message(got, ", ".join(known), fix, task=doing))
    return kind(**parameters)


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
    with task("save interventions"):
        target = path_of(path, OutputError)
    try:
        with whole_file(target) as temporary:
            temporary.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        got, expected = str(error.strerror or error), "a file in a folder that exists and can be written to"
        doing = f"save interventions to {target}"
        raise OutputError(message(got, expected, "choose another path", task=doing)) from error


def load_interventions(path: str | os.PathLike[str]) -> tuple[Intervention, ...]:
    """Read what `save_interventions` wrote.

    Args:
        path: File to read.

    Returns:
        The interventions in the order in which they act: `lv.intervene(model, *lv.load_interventions(path))`.

    Raises:
        InterventionError: No such file, no interventions in it, or one that is not registered or refuses its
            parameters.
        ModelInputError: A value out of range, or not among the choices.
    """
    with task("load interventions"):
        source = path_of(path, InterventionError)
    with task(f"load interventions from {source}"):
        return tuple(make_intervention(name, parameters) for name, parameters in _read(source))


def _read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Names and parameters in a file."""
    expected = "a file of save_interventions"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["lvlmscope_interventions"]
        described = [(str(each["name"]), dict(each["parameters"])) for each in content["interventions"]]
    except OSError as error:
        raise InterventionError(message(str(error.strerror or error), expected, "check the path")) from error
    except (ValueError, KeyError, TypeError) as error:
        got = f"no such configuration ({type(error).__name__}: {error})"
        raise InterventionError(message(got, expected, "save it again")) from error
    if version != _VERSION:
        got, expected = f"format {version!r}", f"format {_VERSION}"
        raise InterventionError(message(got, expected, "use the version that wrote it"))
    return described


def _saved(intervention: Any) -> dict[str, Any]:
    kind, doing = type(intervention), f"save {type(intervention).__name__}"
    if isinstance(intervention, type) or not isinstance(intervention, Intervention):
        got = f"{intervention!r}"[:80]
        raise InterventionError(message(got, "interventions", "pass an instance such as lv.DLEAF()", task=doing))
    described = intervention.describe()
    name = str(described.get("name", kind.__name__))
    if intervention_class(name) is not kind:
        got = f"the name {name!r}, which is {intervention_class(name).__name__}'s"
        raise InterventionError(message(got, "a name of its own", "register it under another name", task=doing))
    values = {key: getattr(intervention, key, None) for key in inspect.signature(kind).parameters}
    objects = [key for key, value in values.items() if not _plain(value)]
    if objects:
        got = f"{objects[0]}={type(values[objects[0]]).__name__} object"
        raise InterventionError(message(got, "numbers, texts, lists", "save the object, name its path", task=doing))
    saved = {"name": name, "reference": described.get("reference", ""), "parameters": described.get("parameters", {})}
    try:
        json.dumps(saved)
    except TypeError as error:
        fix = "let describe() give JSON values"
        raise InterventionError(message(str(error), "numbers, texts, lists", fix, task=doing)) from error
    return saved


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | Real | os.PathLike)  # numpy's numbers are described as Python's
