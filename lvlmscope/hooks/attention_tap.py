"""The attention function that sits between a model's decoder and its own kernel while something reads or edits rows."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message
from lvlmscope.hooks.attention_math import AttentionCall

__all__ = ["AttentionTap", "FirstRow", "Handler", "KernelOutput", "MethodTap", "Tap"]

KernelOutput = tuple[
    Float[torch.Tensor, "batch query head value_dim"], Float[torch.Tensor, "batch head query key"] | None
]
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
        """Begin."""
        ...

    def remove(self) -> None:
        """End, and leave the model as it was."""
        ...


class AttentionTap:
    """Routes every attention call of one decoder through a handler, and puts everything back on removal.

    The tap is registered under a name of its own beside the model's kernel, with the kernel's mask function (without
    one, transformers hands out no mask at all), and the decoder's configs are pointed at it. Modules outside the
    decoder that share a config, and other models, reach their own kernel untouched.
    """

    def __init__(self, decoder: torch.nn.Module, first_row: FirstRow, handler: Handler) -> None:
        """Prepare the tap; nothing is changed yet.

        Args:
            decoder: The text decoder whose attention is read.
            first_row: First query row of interest in the current forward, None for a forward without one.
            handler: Gets the call and the kernel to make the output with, returns the output.
        """
        self._modules = set(decoder.modules())
        self._configs = _attention_configs(decoder)
        self._first_row = first_row
        self._handler = handler
        self._originals: list[tuple[Any, str]] = []
        self._names: dict[str, str] = {}

    def install(self) -> None:
        """Point the decoder's configs at the tap.

        Raises:
            UnsupportedOptionError: The model runs on a kernel whose mask cannot be read.
            UnsupportedModelError: The decoder does not use the attention registry.
        """
        if not self._configs:
            received, possible = "a decoder without an attention setting", "decoders that use the attention registry"
            raise UnsupportedModelError(message("tap a model", received, possible, "register a Family for the model"))
        for config in self._configs:
            kernel = config._attn_implementation or "eager"  # noqa: SLF001 - the setter would also set sub-configs
            if kernel == "flex_attention" or kernel.startswith("paged|"):
                todo = "call model.set_attn_implementation('sdpa') first"
                raise UnsupportedOptionError(message("tap a model", f"{kernel} kernels", "sdpa, eager or flash", todo))
            self._originals.append((config, kernel))
        for config, kernel in self._originals:
            config._attn_implementation_internal = self._register(kernel)  # noqa: SLF001

    def remove(self) -> None:
        """Give the configs their kernels back and take the tap out of the registries."""
        for config, kernel in self._originals:
            if config._attn_implementation in self._names.values():  # noqa: SLF001 - unless the user changed it since
                config._attn_implementation_internal = kernel  # noqa: SLF001
        for name in self._names.values():
            AttentionInterface._global_mapping.pop(name, None)  # noqa: SLF001 - there is no public way to unregister
            AttentionMaskInterface._global_mapping.pop(name, None)  # noqa: SLF001
        self._originals.clear()
        self._names.clear()

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the model's own kernels under the tap."""
        return tuple(sorted({kernel for _, kernel in self._originals}))

    def _register(self, kernel: str) -> str:
        if kernel not in self._names:
            # The kernel's own name stays in front: models ask whether "flash" is in it
            name = f"{kernel}_lvlmscope_{id(self):x}"
            AttentionInterface.register(name, partial(self._attend, kernel))
            mask_function = ALL_MASK_ATTENTION_FUNCTIONS.get(kernel)
            if mask_function is not None:
                AttentionMaskInterface.register(name, mask_function)
            self._names[kernel] = name
        return self._names[kernel]

    def _attend(  # noqa: PLR0917 - transformers passes these by position
        self,
        kernel: str,
        module: torch.nn.Module,
        query: Float[torch.Tensor, "batch head query dim"],
        key: Float[torch.Tensor, "batch kv_head key dim"],
        value: Float[torch.Tensor, "batch kv_head key value_dim"],
        attention_mask: Any = None,
        **options: Any,
    ) -> KernelOutput:
        """The registered function: the kernel's own output, unless the handler has an interest in its rows."""
        run = partial(_kernel_function(kernel, module), module, query, key, value, attention_mask, **options)
        first_row = self._first_row()
        if first_row is None or module not in self._modules:
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
                received = f"{type(module).__name__} without {self._method} or layer_idx"
                todo = "name the method that mixes the values, and number the modules"
                raise UnsupportedModelError(message("tap a model", received, "modules with both", todo))
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


def _attention_configs(decoder: torch.nn.Module) -> list[Any]:
    """The distinct configs of a decoder's modules that name an attention implementation."""
    configs: dict[int, Any] = {}
    for module in decoder.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation_internal"):
            configs[id(config)] = config
    return list(configs.values())


def _kernel_function(kernel: str, module: torch.nn.Module) -> Callable[..., KernelOutput]:
    if kernel != "eager":
        function: Callable[..., KernelOutput] = ALL_ATTENTION_FUNCTIONS[kernel]
        return function
    home = sys.modules[type(module).__module__]
    eager: Callable[..., KernelOutput] | None = getattr(home, "eager_attention_forward", None)
    if eager is None:
        received, todo = f"{type(module).__name__} without an eager function", "use attn_implementation='sdpa'"
        raise UnsupportedModelError(message("run eager attention", received, "eager functions of transformers", todo))
    return eager
