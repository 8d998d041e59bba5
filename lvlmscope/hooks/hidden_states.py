"""Hooks on the residual stream between decoder layers."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from jaxtyping import Float

__all__ = ["HiddenHooks"]


class HiddenHooks:
    """Shows the stream before the first and after every decoder layer to an editor, while switched on."""

    def __init__(
        self,
        layers: Sequence[torch.nn.Module],
        edit: Callable[
            [int, Float[torch.Tensor, "batch query hidden"]], Float[torch.Tensor, "batch query hidden"] | None
        ],
    ) -> None:
        """Prepare; no hook is set yet.

        Args:
            layers: Decoder layers in order.
            edit: Gets layer number (-1: before the first layer) and stream ``[batch, query, hidden]``, returns a new
                stream or None.
        """
        self._layers = layers
        self._edit = edit
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def set(self, on: bool) -> None:
        """Switch the hooks on or off.

        Args:
            on: Whether they should be there.
        """
        if on and not self._handles:
            self._handles.append(self._layers[0].register_forward_pre_hook(self._before, with_kwargs=True))
            for number, layer in enumerate(self._layers):
                self._handles.append(layer.register_forward_hook(partial(self._after, number)))
        elif not on:
            with ExitStack() as steps:  # one that fails does not keep the others
                while self._handles:
                    steps.callback(self._handles.pop().remove)

    def _before(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        positional = bool(args)
        new = self._edit(-1, args[0] if positional else kwargs["hidden_states"])
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if positional else (args, kwargs | {"hidden_states": new})

    def _after(self, number: int, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        whole = isinstance(output, torch.Tensor)
        new = self._edit(number, output if whole else output[0])
        if new is None:
            return None
        return new if whole else (new, *output[1:])
