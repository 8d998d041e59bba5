"""Compiled modules that temporarily run their original code: a compiled graph does not call hooks set after it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from lvlmscope.hooks.instance_attributes import shadowed

__all__ = ["running_originals"]


@contextmanager
def running_originals(model: torch.nn.Module) -> Iterator[None]:
    """Let every compiled module in a model run uncompiled: ``torch.compile(module)``, ``module.compile()``, a forward.

    Args:
        model: A model, or what ``torch.compile`` made of it.

    Yields:
        Nothing; afterwards the compiled code runs again, with what it has compiled so far.
    """
    with ExitStack() as stack:
        for module in model.modules():
            if vars(module).get("_compiled_call_impl") is not None:
                stack.enter_context(shadowed(module, "_compiled_call_impl", None))
            original = getattr(vars(module).get("forward"), "_torchdynamo_orig_callable", None)
            if original is not None:
                stack.enter_context(shadowed(module, "forward", original))
        yield
