"""Every token's own attention gradient out of one replayed block, whole or one layer's graph at a time."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from lvlmscope.capture.freed_memory import give_back_freed
from lvlmscope.capture.row_recorder import RowRecorder
from lvlmscope.decoding.generation_record import Generation
from lvlmscope.hooks.instance_attributes import shadowed

__all__ = ["has_recurrence", "one_layer_at_a_time", "token_gradients", "token_losses"]


def has_recurrence(cache: Any) -> bool:
    """Whether a layer carries a recurrent state from token to token beside its keys and values.

    Args:
        cache: A generation's cache.

    Returns:
        Whether there is one.
    """
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in getattr(cache, "layers", []))


def token_losses(
    logits: Float[torch.Tensor, "batch step vocabulary"], generation: Generation, first: int = 0
) -> Float[torch.Tensor, "batch step"]:
    """``loss_t = -log p`` of each answer token, 0 after a sample's end.

    Args:
        logits: Replayed logits of consecutive steps ``[batch, step, vocabulary]``.
        generation: What was repeated.
        first: Number of the first of these steps.

    Returns:
        Losses ``[batch, step]``, in float32 or float64.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    steps = torch.arange(first, first + logits.shape[1], device=logits.device)
    answer = generation.ids.to(logits.device)[:, generation.prompt_length + steps]
    valid = torch.stack([steps < count for count in generation.steps])
    return -torch.log_softmax(wide, -1).gather(-1, answer.unsqueeze(-1)).squeeze(-1).where(valid, 0.0)


def token_gradients(
    recorder: RowRecorder,
    logits: Float[torch.Tensor, "batch step vocabulary"],
    generation: Generation,
    *,
    separately: bool,
) -> dict[int, Float[torch.Tensor, "batch step _head _kept_key"]]:
    """``d loss_t / d attention`` for every token, from one backward of the summed losses.

    Where states pass from token to token (recurrence, convolution) a later loss would reach an earlier token's row:
    there each token has a backward of its own over the one graph.

    Args:
        recorder: Holds the rows in the graph.
        logits: The replay's logits ``[batch, step, vocabulary]``.
        generation: What was repeated.
        separately: One backward per token.

    Returns:
        Kept gradients by layer ``[batch, step, head, kept key]``.
    """
    losses, rows = token_losses(logits, generation).sum(0), list(recorder.leaves.values())
    if separately:
        found = tuple(torch.zeros_like(row) for row in rows)
        for step, loss in enumerate(losses):
            own = torch.autograd.grad(loss, rows, retain_graph=step < len(losses) - 1)
            for whole, part in zip(found, own, strict=True):
                whole[:, step] = part[:, step]
    else:
        # In this thread: layers that run once more are followed by the thread that replays
        with torch.autograd.set_multithreading_enabled(False):
            found = torch.autograd.grad(losses.sum(), rows)
    for layer, gradient in zip(recorder.leaves, found, strict=True):
        recorder.keep_gradient(layer, gradient)
    return dict(sorted(recorder.gradients.items()))


@contextmanager
def one_layer_at_a_time(layers: tuple[torch.nn.Module, ...], cache: Any, rows: int) -> Iterator[None]:
    """Let the backward pass run each decoder layer again, so that only one layer's graph is held at a time.

    Args:
        layers: Decoder layers in order.
        cache: The cache the block runs over, None when it runs from the start.
        rows: Number of rows of the block, which a second run must take out of the cache first.

    Yields:
        Nothing; afterwards the layers are as before.
    """
    caches = [None] * len(layers) if cache is None else [*cache.layers, *[None] * len(layers)][: len(layers)]
    thread = threading.get_ident()
    with ExitStack() as stack:
        for layer, own in zip(layers, caches, strict=True):
            run = _Rerun(layer.forward, own, rows)
            stack.enter_context(shadowed(layer, "forward", partial(_checkpointed, run, thread)))
        yield


def _checkpointed(run: "_Rerun", thread: int, *args: Any, **kwargs: Any) -> Any:
    if threading.get_ident() != thread:  # a plain forward of another thread
        return run.forward(*args, **kwargs)
    return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


class _Rerun:
    """A layer's forward that, from its second call on, first takes the rows it added before out of the cache.

    Freed memory goes back to the system before each call: that of generation, of the layers before, of the graph above.
    """

    def __init__(self, forward: Any, cache: Any, rows: int) -> None:
        self.forward, self.cache, self.rows = forward, cache, rows
        self.before: int | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        give_back_freed()
        if isinstance(self.cache, DynamicLayer):
            length = self.cache.get_seq_length()
            if self.before is None:
                self.before = length
            elif length > self.before:
                self.cache.crop(self.before - length)
        return self.forward(*args, **kwargs)
