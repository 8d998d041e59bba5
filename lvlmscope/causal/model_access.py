"""A model whose attention calls or hidden states are handled while one thread replays an answer."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lvlmscope.hooks.attention_tap import Handler
from lvlmscope.hooks.hidden_states import HiddenHooks
from lvlmscope.models.decoder_shape import require_one_stream
from lvlmscope.models.families import Family
from lvlmscope.runtime.compiled_modules import running_originals
from lvlmscope.runtime.model_lock import model_lock

__all__ = ["editing_streams", "handling_attention"]


@contextmanager
def handling_attention(model: Any, family: Family, handler: Handler) -> Iterator[None]:
    """Send the decoder's attention calls of this thread through a handler; the model is as before afterwards.

    Args:
        model: The bare model.
        family: Its family's rules.
        handler: Gets each call and the kernel, with all query rows of interest.

    Yields:
        Nothing.

    Raises:
        UnsupportedOptionError: The model runs on a kernel whose mask cannot be read.
        UnsupportedModelError: The decoder's attention cannot be reached.
    """
    thread = threading.get_ident()
    tap = family.make_tap(model, lambda: 0 if threading.get_ident() == thread else None, handler)
    with model_lock(model), ExitStack() as steps:
        steps.enter_context(running_originals(model))
        steps.callback(tap.remove)
        tap.install()
        yield


@contextmanager
def editing_streams(
    model: Any, family: Family, edit: Callable[[int, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """Show the residual stream of this thread's forwards to an editor; the model is as before afterwards.

    Args:
        model: The bare model.
        family: Its family's rules.
        edit: As `HiddenHooks` takes it.

    Yields:
        Nothing.

    Raises:
        UnsupportedModelError: A decoder with parallel residual streams.
    """
    require_one_stream(model, family, task="patch the residual stream")
    thread = threading.get_ident()
    hooks = HiddenHooks(
        family.decoder_layers(model), lambda n, x: edit(n, x) if threading.get_ident() == thread else None
    )
    with model_lock(model), ExitStack() as steps:
        steps.enter_context(running_originals(model))
        steps.callback(hooks.set, False)
        hooks.set(True)
        yield
