"""Interception of transformers' attention functions, by attention module; no name, config or mask is changed."""

import sys
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any, Final

import torch
from jaxtyping import Float
from transformers import AttentionInterface

__all__ = ["AttentionFunction", "KernelOutput", "Route", "add_route", "remove_route"]

KernelOutput = tuple[
    Float[torch.Tensor, "batch query head value_dim"], Float[torch.Tensor, "batch head query key"] | None
]
AttentionFunction = Callable[..., KernelOutput]
Route = Callable[..., KernelOutput]  # gets the kernel's name, the function below it, and what the function would get

_EAGER: Final = "eager_attention_forward"  # what modeling files call theirs, some with a prefix
_MARK: Final = "_lvlmscope_original"


# The routes of each attention module by id, the last one outermost; a route's owner keeps the modules alive
_ROUTES: dict[int, tuple[Route, ...]] = {}
_LOCK = threading.RLock()
_RUNNING = threading.local()  # module: id of the module whose own attention function runs in this thread
_REPLACED: list[tuple[Any, str, Any, Any]] = []  # owner, attribute, what it held (None: inherited), what it holds now


def add_route(modules: Collection[torch.nn.Module], route: Route) -> None:
    """Send the attention calls of modules through a route, outside those that are there already.

    The lookups of ``AttentionInterface`` and the eager functions of the modules' own files are replaced when the first
    route is added, and put back when the last is removed. Every other module reaches its function untouched.

    Args:
        modules: Attention modules; others among them do no harm.
        route: Called in place of the attention function, with the implementation's name, the function (or the route
            below this one), and the function's own arguments: module, query, key, value, mask, options.
    """
    with _LOCK:
        if not _ROUTES:
            _replace(AttentionInterface, "get_interface", _routed_lookup(AttentionInterface.get_interface))
            _replace(AttentionInterface, "__getitem__", _routed_item(AttentionInterface.__getitem__))
        for module in modules:
            _ROUTES[id(module)] = (*_ROUTES.get(id(module), ()), route)
        _route_eager_functions(modules)


def remove_route(modules: Iterable[torch.nn.Module], route: Route) -> None:
    """Remove a route; with the last one transformers' own functions are restored.

    Args:
        modules: As given to ``add_route``.
        route: As given to ``add_route``.
    """
    with _LOCK:
        for module in modules:
            left = tuple(each for each in _ROUTES.get(id(module), ()) if each is not route)
            if left:
                _ROUTES[id(module)] = left
            else:
                _ROUTES.pop(id(module), None)
        if not _ROUTES:
            with ExitStack() as steps:  # one that fails does not keep the others; the last one replaced goes first
                for each in _REPLACED:
                    steps.callback(_put_back, *each)
                _REPLACED.clear()


def _routed(kernel: str, function: AttentionFunction) -> AttentionFunction:
    """The function, which hands the calls of modules with routes to these."""
    if hasattr(function, _MARK):
        return function

    @wraps(function)
    def attend(*args: Any, **options: Any) -> KernelOutput:
        module = args[0] if args else options.get("module")
        # A kernel that looks another one up for the same module has been routed already
        routes = () if id(module) == getattr(_RUNNING, "module", None) else _ROUTES.get(id(module), ())
        return _pass(routes, kernel, partial(_run, function, id(module)), *args, **options)

    setattr(attend, _MARK, function)
    return attend


def _run(function: AttentionFunction, module: int, *args: Any, **options: Any) -> KernelOutput:
    before, _RUNNING.module = getattr(_RUNNING, "module", None), module
    try:
        return function(*args, **options)
    finally:
        _RUNNING.module = before


def _pass(
    routes: tuple[Route, ...], kernel: str, function: AttentionFunction, *args: Any, **options: Any
) -> KernelOutput:
    if not routes:
        return function(*args, **options)
    return routes[-1](kernel, partial(_pass, routes[:-1], kernel, function), *args, **options)


def _routed_lookup(original: Callable[..., AttentionFunction]) -> Callable[..., AttentionFunction]:
    @wraps(original)
    def get_interface(
        self: AttentionInterface, attn_implementation: str | None, default: AttentionFunction
    ) -> AttentionFunction:
        return _routed(attn_implementation or "eager", original(self, attn_implementation, default))

    return get_interface


def _routed_item(original: Callable[..., AttentionFunction]) -> Callable[..., AttentionFunction]:
    """Files written for older versions of transformers index the registry themselves."""

    @wraps(original)
    def item(self: AttentionInterface, key: str) -> AttentionFunction:
        return _routed(key, original(self, key))

    return item


def _route_eager_functions(modules: Iterable[torch.nn.Module]) -> None:
    """Files written for older versions call their own eager function without asking the registry."""
    homes = {home for module in modules for home in _homes(type(module))}
    for name in sorted(homes):
        home = sys.modules.get(name)
        for attribute, held in list(vars(home).items()) if home is not None else ():
            if attribute.endswith(_EAGER) and callable(held) and not hasattr(held, _MARK):
                _replace(home, attribute, _routed("eager", held))


def _homes(kind: type) -> set[str]:
    return {base.__module__ for base in kind.__mro__ if not base.__module__.startswith(("torch.", "builtins"))}


def _replace(owner: Any, attribute: str, new: Any) -> None:
    _REPLACED.append((owner, attribute, vars(owner).get(attribute), new))
    setattr(owner, attribute, new)


def _put_back(owner: Any, attribute: str, held: Any, new: Any) -> None:
    if vars(owner).get(attribute) is not new:
        return  # replaced by someone else since; what they hold of ours passes every call on
    if held is None:
        delattr(owner, attribute)
    else:
        setattr(owner, attribute, held)
