"""A differentiable path through a forward of ``generate``: from one layer's attention rows up to the logits."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message

__all__ = ["ForwardGraph", "GradientPath", "cut_graph", "require_backward", "require_gradients"]

_RECURRENT: Final = frozenset({"hybrid", "linear_attention", "mamba", "mamba2", "recurrent"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForwardGraph:
    """Autograd graph of one forward pass; freed with this object.

    Attributes:
        rows: Rows ``[batch, row, head, key]`` of the layers that were asked for, after all edits, in the graph. The
            lowest of them ends it: what lies below is constant. Keys and values of other positions are constant, too.
        logits: Raw logits of the last row ``[batch, vocabulary]``, in the graph.
    """

    rows: Mapping[int, AttentionRows]
    logits: Float[torch.Tensor, "batch vocabulary"]

    def gradients(
        self, upstream: Float[torch.Tensor, "loss batch vocabulary"]
    ) -> dict[int, Float[torch.Tensor, "loss batch _head _key"]]:
        """Gradients of several losses with respect to the last row's attention, in one batched backward.

        Args:
            upstream: ``d loss / d logits`` of each loss and sample ``[loss, batch, vocabulary]``; samples do not mix.

        Returns:
            ``d loss / d a`` by layer, ``[loss, batch, head, key]``.
        """
        layers = sorted(self.rows)
        weights = [self.rows[layer].weights for layer in layers]
        upstream = upstream.to(self.logits.dtype)
        try:
            found = torch.autograd.grad(self.logits, weights, upstream, is_grads_batched=True, retain_graph=True)
        except RuntimeError:  # a kernel without a batching rule (quantised weights, grouped experts): one at a time
            each = [torch.autograd.grad(self.logits, weights, one, retain_graph=True) for one in upstream]
            found = tuple(torch.stack(parts) for parts in zip(*each, strict=True))
        return {layer: gradient[:, :, -1] for layer, gradient in zip(layers, found, strict=True)}


def require_backward(model: torch.nn.Module, *, running: bool) -> None:
    """Refuse weights and a mode without a backward, before anything is generated.

    Args:
        running: Whether generation is about to begin; while an intervention is attached, the mode may still change.

    Raises:
        UnsupportedModelError: Weights quantised for kernels without a backward.
        UnsupportedOptionError: ``torch.inference_mode``.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and not quantizer.is_trainable:
        got = f"weights quantised by {type(quantizer).__name__}, whose kernels have no backward"
        fix = "load the model in bfloat16 or with bitsandbytes, or go without gradients"
        raise UnsupportedModelError(message(got, "weights that gradients pass through", fix))
    if running and torch.is_inference_mode_enabled():
        fix = "use torch.no_grad, or leave the block first"
        raise UnsupportedOptionError(message("torch.inference_mode", "tensors that can be differentiated", fix))


def require_gradients(model: torch.nn.Module, *, running: bool) -> None:
    """As `require_backward`, and refuse decoders through whose decode steps no gradient passes.

    Args:
        running: As for `require_backward`.

    Raises:
        UnsupportedModelError: As for `require_backward`, or recurrent layers.
        UnsupportedOptionError: As for `require_backward`.
    """
    require_backward(model, running=running)
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    recurrent = _RECURRENT & set(getattr(text, "layer_types", None) or ())
    if recurrent:
        got = f"{type(model).__name__} with {', '.join(sorted(recurrent))} layers, whose states change in place"
        fix = "trace it with gradients=True instead"
        raise UnsupportedModelError(message(got, "decoders of attention and convolution", fix))


class _Forward(threading.local):
    """The forward that a thread runs: torch's grad mode is a thread's own, too."""

    def __init__(self) -> None:
        self.layers: frozenset[int] = frozenset()
        self.rows: dict[int, AttentionRows] = {}
        self.mode: bool | None = None


class GradientPath:
    """Switches gradients on from the lowest asked layer of a forward to its end, and off again whatever happens.

    Afterwards torch's grad mode is what it was, and neither the output nor the cache holds a graph: a cache that did
    would keep every step's graph alive.
    """

    def __init__(self, core: torch.nn.Module, deliver: Callable[[ForwardGraph], None]) -> None:
        """Prepare; no hook is set yet.

        Args:
            core: The module whose forward ``generate`` calls at every step.
            deliver: Gets the forward with its graph, before it is cut off.
        """
        self._core = core
        self._deliver = deliver
        self._forward = _Forward()
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "GradientPath":
        """The same: what is copied with a hooked module has no graph to deliver."""
        return self

    def set(self, on: bool) -> None:
        """Switch the hook at the forward's end on or off.

        Args:
            on: Whether it should be there.
        """
        if on and self._hook is None:
            # First of all hooks, so that those after it, and generate, get tensors without a graph
            hook = self._core.register_forward_hook(self._after, with_kwargs=True, always_call=True, prepend=True)
            self._hook = hook
        elif not on and self._hook is not None:
            hook, self._hook = self._hook, None
            hook.remove()

    def request(self, layers: Collection[int]) -> None:
        """Set the layers whose rows the coming forward keeps attached to the graph.

        Args:
            layers: Decoder layer numbers; none leaves the forward as it is.
        """
        self.close()
        self._forward.layers = frozenset(layers)

    def begins_at(self, layer: int) -> bool:
        """Whether the path begins with this layer's rows; says so once, at the lowest asked layer.

        Args:
            layer: Decoder layer number.

        Returns:
            True where the rows are to be made leaves.
        """
        return bool(self._forward.layers) and self._forward.mode is None and layer == min(self._forward.layers)

    @property
    def is_open(self) -> bool:
        """Whether the path has begun."""
        return self._forward.mode is not None

    def open(self) -> None:
        """Switch gradients on."""
        self._forward.mode = torch.is_grad_enabled()
        torch.set_grad_enabled(True)

    def collect(self, layer: int, rows: AttentionRows) -> None:
        """Take one layer's rows, if they were asked for.

        Args:
            layer: Decoder layer number.
            rows: In the graph, after all edits.
        """
        if layer in self._forward.layers:
            self._forward.rows[layer] = rows

    def close(self) -> None:
        """Restore the grad mode and release the forward; a second call does nothing."""
        if self._forward.mode is not None:
            torch.set_grad_enabled(self._forward.mode)
        self._forward.mode, self._forward.rows, self._forward.layers = None, {}, frozenset()

    def _after(self, _: torch.nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Deliver the graph and detach it; an output of None comes from a forward that failed."""
        if not self.is_open:
            return None
        rows, logits = self._forward.rows, getattr(output, "logits", None)
        last = None if logits is None else logits[:, -1]  # while gradients are on
        self.close()
        if last is None:
            return None
        self._deliver(ForwardGraph(rows=rows, logits=last))
        cut_graph(kwargs.get("past_key_values"))
        return cut_graph(output)


def cut_graph(value: Any) -> Any:
    """The same value without graphs; dicts, caches and their layers are changed in place.

    Args:
        value: A tensor, a model's output, a cache, or anything else, which is left alone.

    Returns:
        The value.
    """
    if isinstance(value, torch.Tensor):
        return value.detach() if value.requires_grad else value
    if isinstance(value, dict):  # model outputs among them
        for name in list(value):
            value[name] = cut_graph(value[name])
        return value
    if type(value) in {list, tuple}:
        return type(value)(cut_graph(each) for each in value)
    if hasattr(value, "layers") or hasattr(value, "is_initialized"):  # a cache, a cache's layer
        for name, own in list(vars(value).items()):
            setattr(value, name, cut_graph(own))
    return value
