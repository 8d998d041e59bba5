"""``estimate``: the bytes that a trace will take, before the model runs."""

from collections.abc import Mapping
from typing import Any

from lvlmscope.capture.memory_limit import Estimate, estimate_inputs
from lvlmscope.capture.options import Keep, Precision
from lvlmscope.inputs.preparation import check_inputs, prepare
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import family_for, find_processor, unwrap
from lvlmscope.runtime.generation_settings import answer_limit

__all__ = ["estimate"]


@checked
def estimate(
    model: Any,
    image: Any = None,
    prompt: Any = None,
    *,
    inputs: Any = None,
    max_new_tokens: int | None = None,
    gradients: bool = False,
    hidden_states: bool = False,
    keep: Keep = "all",
    precision: Precision = "float32",
    layerwise: bool = False,
    processor: Any = None,
    family: Family | None = None,
) -> Estimate:
    """Bytes that ``trace`` with the same arguments will take, before running the model.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        image: As for ``trace``.
        prompt: As for ``trace``.
        inputs: As for ``trace``.
        max_new_tokens: Answer tokens at most; the model's own setting when None.
        gradients: As for ``trace``.
        hidden_states: As for ``trace``.
        keep: As for ``trace``.
        precision: As for ``trace``.
        layerwise: Hold the graph of one layer at a time.
        processor: The model's processor, when it cannot be found from the model's name.
        family: Rules of the model's family, found by itself when None.

    Returns:
        The estimate; it prints as a table.

    Raises:
        ImageInputError: As for ``trace``.
        PromptError: As for ``trace``.
        ModelInputError: As for ``trace``.
        UnsupportedModelError: As for ``trace``.
    """
    bare = unwrap(model)
    family = family_for(model, family)
    family.require_vision(bare)
    if inputs is None:
        ready: Mapping[str, Any] = prepare(image, prompt, find_processor(model, processor), family).inputs
    else:
        ready = check_inputs(inputs)
    options = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    steps = answer_limit(family.core(bare), ready["input_ids"].shape[1], options)
    kept: dict[str, Any] = {"gradients": gradients, "hidden_states": hidden_states, "keep": keep}
    return estimate_inputs(bare, family, ready, steps, precision=precision, layerwise=layerwise, **kept)
