"""Interventions whose hooks are given as functions, for tests of one hook at a time."""

from collections.abc import Callable
from typing import Any

from lvlmscope.runtime.protocol import Session


class Scripted:
    """An intervention whose session has these hooks and no others."""

    def __init__(self, name: str = "Scripted", **hooks: Callable[..., Any]) -> None:
        self.name, self.hooks = name, hooks

    def start(self, _: Any) -> Session:
        named = {name: _as_method(hook) if callable(hook) else hook for name, hook in self.hooks.items()}
        made: Session = type("Started", (Session,), named)()
        return made

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "reference": "", "parameters": {}}


def _as_method(hook: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *args: hook(*args)
