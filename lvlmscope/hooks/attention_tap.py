"""The attention function that sits between a model's decoder and its own kernel while something reads or edits rows."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_registry import AttentionFunction, KernelOutput, Route, add_route, remove_route

__all__ = ["AttentionTap", "FirstRow", "Handler", "KernelOutput", "MethodTap", "Tap"]

Handler = Callable[[AttentionCall, Callable[[], KernelOutput]], KernelOutput]
FirstRow = Callable[[], int | None]


@runtime_checkable
class Tap(Protocol):
    """Routes a decoder's attention calls through a handler while it is installed."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the model's own attention kernels."""
        ...

    def install(self) -> None:
        """Start routing attention calls."""
        ...

    def remove(self) -> None:
        """Stop routing; the model is as before."""
        ...


class AttentionTap:
    """Routes every attention call of one decoder through a handler; model, config and masks stay as they are.

    The calls are taken where modeling files look their attention function up, by the module that makes them: models
    that ask for their implementation's name get the same answer as without the tap.
    """

    def __init__(self, decoder: torch.nn.Module, first_row: FirstRow, handler: Handler) -> None:
        """Prepare the tap; nothing is changed yet.

        Args:
            decoder: The text decoder whose attention is read.
            first_row: First query row of interest in the current forward, None for a forward without one.
            handler: Gets the call and the kernel to make the output with, returns the output.
        """
        self._modules = tuple(decoder.modules())
        self._first_row = first_row
        self._handler = handler
        self._route: Route = self._attend

    def install(self) -> None:
        """Start routing the decoder's attention calls.

        Raises:
            UnsupportedOptionError: The model runs on a kernel whose mask cannot be read.
            UnsupportedModelError: The decoder does not use the attention registry.
        """
        if not self.kernels:
            got, expected = "a decoder without an attention setting", "decoders that use the attention registry"
            raise UnsupportedModelError(message(got, expected, "register a Family for the model", task="tap a model"))
        for kernel in self.kernels:
            if kernel == "flex_attention" or kernel.startswith("paged|"):
                fix = "call model.set_attn_implementation('sdpa') first"
                raise UnsupportedOptionError(
                    message(f"{kernel} kernels", "sdpa, eager or flash", fix, task="tap a model")
                )
        add_route(self._modules, self._route)

    def remove(self) -> None:
        """Stop routing the decoder's calls; a second call does nothing."""
        remove_route(self._modules, self._route)

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the decoder's attention implementations."""
        return tuple(sorted({config._attn_implementation or "eager" for config in _attention_configs(self._modules)}))  # noqa: SLF001

    def _attend(  # noqa: PLR0917 - transformers passes these by position
        self,
        kernel: str,
        function: AttentionFunction,
        module: torch.nn.Module,
        query: Float[torch.Tensor, "batch head query dim"],
        key: Float[torch.Tensor, "batch kv_head key dim"],
        value: Float[torch.Tensor, "batch kv_head key value_dim"],
        attention_mask: Any = None,
        **options: Any,
    ) -> KernelOutput:
        """One call: the kernel's own output, unless the handler has an interest in its rows."""
        run = partial(function, module, query, key, value, attention_mask, **options)
        first_row = self._first_row()
        if first_row is None:
            return run()
        call = AttentionCall(
            module=module,
            query=query,
            key=key,
            value=value,
            mask=attention_mask,
            kernel=kernel,
            options=options,
            first_row=first_row,
        )
        return self._handler(call, run)


class MethodTap:
    """A tap on a method of the attention modules, for models that do not use the attention registry.

    The method is one that makes the heads' outputs: it takes query ``[batch, head, query, dim]``, key and value
    ``[batch, key head, key, dim]`` and a mask (bool or additive ``[batch, 1 or head, query, key]``, or None for causal)
    first, and gives ``[batch, query, head, dim]``. Each module needs an int ``layer_idx``.
    """

    def __init__(self, modules: Sequence[torch.nn.Module], method: str, first_row: FirstRow, handler: Handler) -> None:
        """Prepare the tap; nothing is changed yet.

        Args:
            modules: The attention modules, in the order of their layers.
            method: Name of the method.
            first_row: As given to ``Family.make_tap``.
            handler: As given to ``Family.make_tap``.
        """
        self._modules = tuple(modules)
        self._method = method
        self._first_row = first_row
        self._handler = handler

    @property
    def kernels(self) -> tuple[str, ...]:
        """The method's name."""
        return (self._method,)

    def install(self) -> None:
        """Shadow the method on each module.

        Raises:
            UnsupportedModelError: A module without the method or without a layer number.
        """
        for module in self._modules:
            if not callable(getattr(module, self._method, None)) or not hasattr(module, "layer_idx"):
                got = f"{type(module).__name__} without {self._method} or layer_idx"
                fix = "name the method that mixes the values, and number the modules"
                raise UnsupportedModelError(message(got, "modules with both", fix, task="tap a model"))
        for module in self._modules:
            vars(module)[self._method] = partial(self._attend, module, getattr(module, self._method))

    def remove(self) -> None:
        """Uncover the methods."""
        for module in self._modules:
            vars(module).pop(self._method, None)

    def _attend(  # noqa: PLR0917 - the method's own order
        self,
        module: torch.nn.Module,
        original: Callable[..., Float[torch.Tensor, "batch query head value_dim"]],
        query: Float[torch.Tensor, "batch head query dim"],
        key: Float[torch.Tensor, "batch kv_head key dim"],
        value: Float[torch.Tensor, "batch kv_head key value_dim"],
        mask: Any = None,
        **options: Any,
    ) -> Float[torch.Tensor, "batch query head value_dim"]:
        first_row = self._first_row()
        if first_row is None:
            return original(query, key, value, mask, **options)
        call = AttentionCall(
            module=module,
            query=query,
            key=key,
            value=value,
            mask=mask,
            kernel=self._method,
            options=options,
            first_row=first_row,
        )
        return self._handler(call, lambda: (original(query, key, value, mask, **options), None))[0]


def _attention_configs(modules: Iterable[torch.nn.Module]) -> list[Any]:
    """The distinct configs of modules that name an attention implementation."""
    configs: dict[int, Any] = {}
    for module in modules:
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            configs[id(config)] = config
    return list(configs.values())
