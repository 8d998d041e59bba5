"""``estimate``: the bytes that a trace will take, before the model runs."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from lvlmscope.capture.memory_limit import Estimate, estimate_inputs
from lvlmscope.capture.mixing_memory import mixing_bytes
from lvlmscope.capture.options import Keep, Precision
from lvlmscope.inputs.preparation import check_inputs, prepare
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import family_for, find_processor, unwrap, with_processor
from lvlmscope.runtime.attachment import instrumentation_of, stack_of, switch_on
from lvlmscope.runtime.generation_settings import answer_limit
from lvlmscope.runtime.protocol import Intervention

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
    interventions: Sequence[Intervention] | Intervention = (),
    family: Family | None = None,
) -> Estimate:
    """Bytes that ``trace`` with the same arguments will take, before running the model.

    Interventions that mix logits take a second cache for each of their sequences, and logits of it; one that looks
    ahead (``OPERA``) one of as many rows as it looks at tokens.

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
        interventions: As for ``trace``: in addition to those already attached.
        family: Rules of the model's family, found by itself when None.

    Returns:
        The estimate; it prints as a table.

    Raises:
        ImageInputError: As for ``trace``.
        PromptError: As for ``trace``.
        ModelInputError: As for ``trace``.
        UnsupportedModelError: As for ``trace``.
        InterventionError: As for ``trace``.
    """
    bare = unwrap(model)
    family = family_for(model, family)
    family.require_vision(bare)
    if inputs is None:
        processor = find_processor(model, processor)
        ready: Mapping[str, Any] = prepare(image, prompt, processor, family).inputs
    else:
        ready = check_inputs(inputs)
    options = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    steps = answer_limit(family.core(bare), ready["input_ids"].shape[1], options)
    kept: dict[str, Any] = {"gradients": gradients, "hidden_states": hidden_states, "keep": keep}
    kept["mixing"] = _mixing(with_processor(model, processor, family), family, stack_of(interventions), ready, steps)
    return estimate_inputs(bare, family, ready, steps, precision=precision, layerwise=layerwise, **kept)


def _mixing(model: Any, family: Family, stack: Sequence[Intervention], inputs: Mapping[str, Any], steps: int) -> int:
    """Bytes that interventions take: those that are on, and a stack that is switched on for the time of asking."""
    handle = switch_on(model, stack, family=family, thread=threading.get_ident(), compiled=False) if stack else None
    try:
        instrumentation = instrumentation_of(model)
        return 0 if instrumentation is None else mixing_bytes(instrumentation, inputs, steps)
    finally:
        if handle is not None:
            handle.withdraw()
