"""How many bytes the interventions that mix logits take beside a replay: second sequences, and mixed logits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from lvlmscope.capture.agreement import decoder_dtype
from lvlmscope.models.decoder_shape import attention_layers, inner_width, key_value_width
from lvlmscope.models.families import Family
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.branch_set import grouped_branches, pads_branches
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.runtime.prompt_inputs import PromptInputs

__all__ = ["branch_bytes", "look_ahead_bytes", "mixing_bytes"]


def mixing_bytes(instrumentation: Instrumentation, inputs: Mapping[str, Any], steps: int) -> int:
    """Bytes that the interventions which are on and mix logits need in a replay, at its peak.

    A prompt that is made when it is first asked for counts as one of the answer's own length.

    Args:
        instrumentation: The model's.
        inputs: Model inputs ``[batch, prompt]``.
        steps: Answer tokens at most.

    Returns:
        Those of the branches and of what looks ahead, of the mixed logits of all steps, and of the tensor into which
        they are put together.
    """
    mixing = instrumentation.mixing
    if not mixing:
        return 0
    model, family = instrumentation.model, instrumentation.family
    sizes = _batches(instrumentation, mixing, instrumentation.prompt_inputs(inputs))
    branches = [branch_bytes(model, family, size, steps) for size in sizes]
    ahead = [count for each in mixing for count in each.session.look_ahead_tokens.values()]
    branches += [look_ahead_bytes(model, family, inputs["input_ids"].shape, steps, count) for count in ahead]
    mixed: int = inputs["input_ids"].shape[0] * steps * int(family.text_config(model).vocab_size) * 4
    return sum(held for held, _ in branches) + max((passing for _, passing in branches), default=0) + 2 * mixed


def _batches(
    instrumentation: Instrumentation, mixing: Sequence[ActiveIntervention], prompt: PromptInputs
) -> list[tuple[int, int]]:
    """Rows and columns of the batches of second sequences.

    Torch's generators are left as they are, whatever a session draws.
    """
    named: dict[tuple[int, str], PromptInputs | Callable[[], PromptInputs]] = {}
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices) if devices else torch.random.fork_rng():
        for number, each in enumerate(mixing):
            started = each.fresh(instrumentation.model_info)
            named |= {(number, name): other for name, other in started.call("branches", prompt).items()}
    groups = grouped_branches(named, pads=pads_branches(instrumentation.model, instrumentation.family))
    found = []
    for group in groups:
        known = [each.inputs if isinstance(each, PromptInputs) else prompt.inputs for each in group.prompts]
        ids = [inputs["input_ids"] for inputs in known]
        found.append((sum(len(each) for each in ids), max(each.shape[1] for each in ids)))
    return found


def branch_bytes(model: torch.nn.Module, family: Family, prompt: Sequence[int], steps: int) -> tuple[int, int]:
    """Bytes of one branch in a replay, in which its answer runs as one block.

    Args:
        family: Its family's rules.
        prompt: Rows and columns of its prompts.
        steps: Answer tokens at most.

    Returns:
        What it holds, its cache and its logits; and what its forwards take for a moment.
    """
    config, size = family.text_config(model), decoder_dtype(model, family).itemsize
    rows, length = prompt
    layers, columns = len(attention_layers(config, len(family.decoder_layers(model)))), length + steps - 1
    one_layer = rows * columns * key_value_width(config) * size
    logits = rows * steps * int(config.vocab_size) * size
    activations = rows * max(length, steps) * _activation_width(config) * size
    scores = 2 * rows * int(config.num_attention_heads) * steps * columns * 4
    # The first step's logits and the others' are put together; a layer's cache is copied as it grows
    return layers * one_layer + logits, max(logits, activations + scores + one_layer)


def look_ahead_bytes(
    model: torch.nn.Module, family: Family, prompt: Sequence[int], steps: int, candidates: int
) -> tuple[int, int]:
    """Bytes of what looks ahead in one layer: the prompt runs once, its cache is repeated for each candidate.

    Args:
        family: Its family's rules.
        prompt: Rows and columns of the prompts.
        steps: Answer tokens at most.
        candidates: Tokens for each row.

    Returns:
        What it holds, its caches and the prompt's logits; and what its forwards take for a moment.
    """
    config, size = family.text_config(model), decoder_dtype(model, family).itemsize
    rows, length = prompt[0] * candidates, prompt[1]
    layers, columns = len(attention_layers(config, len(family.decoder_layers(model)))), length + steps
    one_layer = rows * columns * key_value_width(config) * size
    logits = rows * int(config.vocab_size) * size
    width = _activation_width(config)
    prompt_forward = prompt[0] * length * width * size
    scores = 2 * rows * int(config.num_attention_heads) * 2 * columns * 4  # the last token, and the candidate
    step_forward = rows * 2 * width * size + 2 * logits + scores + one_layer  # a layer's cache is copied as it grows
    return layers * one_layer + logits, max(prompt_forward, step_forward)


def _activation_width(config: Any) -> int:
    """Numbers that a forward holds of one token for a moment."""
    return 8 * int(config.hidden_size) + 4 * inner_width(config)
