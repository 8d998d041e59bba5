"""Everything that a use of a model may leave changed, as named values that two moments are compared by."""

import hashlib
from typing import Any

import numpy as np
import torch

import lvlmscope as lv
from lvlmscope.hooks import attention_registry
from lvlmscope.runtime import attachment
from lvlmscope.runtime.model_lock import model_lock
from tests.support import tiny_models

__all__ = ["changed", "model_state"]


def model_state(model: Any, processor: Any = None) -> dict[str, Any]:
    """Weights, buffers, modes, hooks, configs, functions, locks, random state, and a processor's settings, by name.

    Args:
        model: The bare model.
        processor: Its processor.

    Returns:
        Values that are equal when nothing has changed.
    """
    modules = list(model.named_modules())
    tensors = [*model.named_parameters(), *model.named_buffers()]
    found = {
        "weights and buffers": [(name, id(tensor), tensor.requires_grad, _digest(tensor)) for name, tensor in tensors],
        "gradients": [name for name, parameter in model.named_parameters() if parameter.grad is not None],
        "training mode": [(name, module.training) for name, module in modules],
        "hooks, methods and attention functions": tiny_models.footprint(model),
        "other hooks": [
            (name, sorted(module._backward_hooks), sorted(module._backward_pre_hooks)) for name, module in modules
        ],
        "config": model.config.to_dict(),
        "generation config": model.generation_config.to_dict(),
        "generate": vars(model).get("generate"),
        "attached": lv.attached(model),
        "instrumented": model in attachment._INSTRUMENTED or model in attachment._WRAPPED,
        "routes": (dict(attention_registry._ROUTES), list(attention_registry._REPLACED)),
        "lock": _is_owned(model_lock(model)),
        # Not Python's: the checker of shapes draws from it
        "random state": (torch.random.get_rng_state().tolist(), str(np.random.get_state())),  # noqa: NPY002
        "torch's modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
    }
    if processor is not None:
        tokenizer = processor.tokenizer
        found["processor"] = (tokenizer.padding_side, tokenizer.truncation_side, processor.chat_template)
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what differs between two states of one model.

    Args:
        before: As `model_state` gives it.
        after: As well.

    Returns:
        The names; none when all is as before.
    """
    return [name for name, value in before.items() if after[name] != value]


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def _is_owned(lock: Any) -> bool:
    return bool(lock._is_owned())
