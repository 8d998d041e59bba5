"""What cannot be traced, refused before anything is generated."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from lvlmscope.capture.stepwise_replay import steps_reason
from lvlmscope.capture.token_gradients import has_recurrence
from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message, task
from lvlmscope.hooks.gradient_path import require_backward
from lvlmscope.models.decoder_shape import require_one_stream
from lvlmscope.models.families import Family

__all__ = ["refuse_chance", "refuse_gradients", "refuse_streams"]


def refuse_chance(model: Any) -> None:
    """Refuse modes in which the same forward gives something else the second time, or in another precision.

    Raises:
        UnsupportedModelError: A module in train mode with dropout.
        UnsupportedOptionError: ``torch.autocast`` is on.
    """
    doing = "replay an answer"
    for name, module in model.named_modules():
        if module.training and (rate := _dropout(module)):
            got = f"{name or type(module).__name__} in train mode with dropout {rate:g}, which differs in every forward"
            raise UnsupportedModelError(message(got, "a model in eval mode", "call model.eval()", task=doing))
    kind = model.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        got = f"torch.autocast on {kind}, which takes the float32 sums of attention rows away"
        fix = "trace outside of the autocast block, with the model loaded in bfloat16 or float16"
        raise UnsupportedOptionError(message(got, "a model in its own dtype", fix, task=doing))


def _dropout(module: torch.nn.Module) -> float:
    """The rate at which a module drops, its own or the one it hands to the attention function."""
    rates = [getattr(module, name, 0.0) for name in ("attention_dropout", "dropout", "dropout_p")]
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):  # noqa: SLF001 - the base of all dropouts
        rates.append(module.p)
    return max(float(rate) for rate in rates if isinstance(rate, int | float))


def refuse_streams(model: torch.nn.Module, family: Family, *, hidden_states: bool) -> None:
    """Refuse hidden states of a decoder with parallel residual streams.

    Args:
        family: Its family's rules.
        hidden_states: Whether they are wanted.

    Raises:
        UnsupportedModelError: They are, and a token has several.
    """
    if hidden_states:
        require_one_stream(model, family, task="trace hidden states")


def refuse_gradients(model: torch.nn.Module, family: Family, *, layerwise: bool, interventions: Sequence[Any]) -> None:
    """Refuse a trace with gradients that could not be differentiated.

    Args:
        family: Its family's rules.
        layerwise: Whether the graph of one layer at a time is to be held.
        interventions: What is on.

    Raises:
        UnsupportedOptionError: Inference mode; interventions, recurrent layers or a replay step by step with one layer
            at a time.
        UnsupportedModelError: Weights quantised for kernels without a backward.
    """
    with task("trace gradients"):
        require_backward(model, running=True)
    recurrent = layerwise and _is_recurrent(model)
    steps = steps_reason(model, family, gradients=True) if layerwise else ""
    why = "an intervention that is on" if interventions else "recurrent layers" if recurrent else steps
    if layerwise and why:
        expected, fix = (
            "models whose answer is replayed as one block, without interventions and recurrence",
            "give more max_memory, or trace without gradients",
        )
        raise UnsupportedOptionError(message(why, expected, fix, task="differentiate one layer at a time"))


def _is_recurrent(model: torch.nn.Module) -> bool:
    config: Any = model.config
    return hasattr(config, "get_text_config") and has_recurrence(DynamicCache(config=config))
