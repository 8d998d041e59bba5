"""Hooks on what the MLP of each decoder layer gives, before it is added to the residual stream."""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import torch

from lvlmscope.errors import UnsupportedModelError, message

__all__ = ["MLPHooks", "mlp_of"]

# Names of children that make up the MLP of a layer, in the modeling files of transformers
_MLP: Final = re.compile(r"mlp|feed_?forward|ffn|moe|expert|^fc2$")
# What a layer has beside it: norms, gates, connections of several streams, convolutions after it
_BESIDE: Final = re.compile(r"norm|dropout|router|gate|act|_hc$|hyper_connection|conv|input")
# Alone in its layer a module of this name would be a part of an MLP whose sum is made in the layer's own forward
_PART: Final = re.compile(r"expert")


def mlp_of(layer: torch.nn.Module) -> torch.nn.Module | None:
    """The MLP of a decoder layer, or its block of experts.

    Args:
        layer: The layer.

    Returns:
        The module; None where there is none, or where the layer adds several of them itself.

    Examples:
        >>> layer = torch.nn.ModuleDict({"mlp": torch.nn.Linear(2, 2), "mlp_norm": torch.nn.LayerNorm(2)})
        >>> mlp_of(layer) is layer["mlp"]
        True
    """
    named = {name: child for name, child in layer.named_children() if _MLP.search(name) and not _BESIDE.search(name)}
    if len(named) != 1 or any(_PART.search(name) for name in named):
        return None
    return next(iter(named.values()))


class MLPHooks:
    """Shows the output of each decoder layer's MLP to an editor, while switched on."""

    def __init__(
        self, layers: Sequence[torch.nn.Module], edit: Callable[[int, torch.Tensor], torch.Tensor | None]
    ) -> None:
        """Prepare; no hook is set yet.

        Args:
            layers: Decoder layers in order.
            edit: Gets layer number and output, ``[batch, query, hidden]`` or the tokens of all samples in one axis,
                returns a new one of the same shape or None.
        """
        self._layers = layers
        self._edit = edit
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def set(self, on: bool, *, model: str = "the model") -> None:
        """Switch the hooks on or off.

        Args:
            on: Whether they should be there.
            model: Name of the model's class, for the message.

        Raises:
            UnsupportedModelError: A layer without an MLP that can be located.
        """
        if on and not self._handles:
            mlps = [mlp_of(layer) for layer in self._layers]
            if None in mlps:
                layer = mlps.index(None)
                got = f"{model}, in whose layer {layer} ({type(self._layers[layer]).__name__}) no MLP is found"
                expected = "decoder layers with one module that is their MLP or block of experts"
                fix = "leave the intervention out, or let it edit the stream with edit_hidden"
                raise UnsupportedModelError(message(got, expected, fix, task="edit the outputs of MLPs"))
            for number, mlp in enumerate(mlps):
                if mlp is not None:
                    self._handles.append(mlp.register_forward_hook(partial(self._after, number)))
        elif not on:
            with ExitStack() as steps:  # one that fails does not keep the others
                while self._handles:
                    steps.callback(self._handles.pop().remove)

    def _after(self, number: int, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        whole = isinstance(output, torch.Tensor)  # blocks of experts may give the router's logits beside it
        new = self._edit(number, output if whole else output[0])
        if new is None:
            return None
        return new if whole else (new, *output[1:])
