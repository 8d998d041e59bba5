"""What cannot be traced, refused before anything is generated."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from lvlmscope.capture.token_gradients import has_recurrence
from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message

__all__ = ["refuse_batch_dependent_rows", "refuse_gradients"]


def refuse_batch_dependent_rows(model: torch.nn.Module) -> None:
    """Refuse kernels whose result for one row depends on the rows beside it: a replay has other rows beside it.

    LLM.int8 multiplies columns with an outlier in any row of the forward in half precision, all others in 8 bits.

    Args:
        model: The bare model.

    Raises:
        UnsupportedModelError: A layer that does.
    """
    for name, module in model.named_modules():
        threshold = getattr(getattr(module, "state", None), "threshold", 0.0)
        if type(module).__name__ == "Linear8bitLt" and threshold:
            got = f"{name} in 8 bits (LLM.int8), whose rows depend on the rows that share a forward"
            expected = "layers that treat every row for itself"
            fix = "load in bfloat16 or 4 bits, or with BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)"
            raise UnsupportedModelError(message(got, expected, fix, task="replay an answer"))


def refuse_gradients(model: torch.nn.Module, *, layerwise: bool, interventions: Sequence[Any]) -> None:
    """Refuse a trace with gradients that could not be differentiated.

    Args:
        model: The bare model.
        layerwise: Whether the graph of one layer at a time is to be held.
        interventions: What is on.

    Raises:
        UnsupportedOptionError: Inference mode; interventions or recurrent layers with one layer at a time.
        UnsupportedModelError: Weights quantised for kernels without a backward.
    """
    task = "trace gradients"
    if torch.is_inference_mode_enabled():
        got, fix = "torch.inference_mode", "use torch.no_grad, or call trace outside the block"
        raise UnsupportedOptionError(message(got, "tensors that can be differentiated", fix, task=task))
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and not quantizer.is_trainable:
        got = f"weights quantised by {type(quantizer).__name__}, whose kernels have no backward"
        fix = "load the model in bfloat16 or with bitsandbytes, or trace without gradients"
        raise UnsupportedModelError(message(got, "weights that gradients pass through", fix, task=task))
    recurrent = layerwise and _is_recurrent(model)
    why = "an intervention that is on" if interventions else "recurrent layers" if recurrent else ""
    if layerwise and why:
        expected, fix = (
            "models without interventions and recurrence",
            "give more max_memory, or trace without gradients",
        )
        raise UnsupportedOptionError(message(why, expected, fix, task="differentiate one layer at a time"))


def _is_recurrent(model: torch.nn.Module) -> bool:
    config: Any = model.config
    return hasattr(config, "get_text_config") and has_recurrence(DynamicCache(config=config))
