"""Forwards that repeat an answer and their arguments: one block over the cut cache, from the start, step by step."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from transformers.cache_utils import DynamicLayer

from lvlmscope.decoding.forward_log import whole_cache
from lvlmscope.decoding.generation_record import Generation
from lvlmscope.models.families import Family

__all__ = [
    "can_be_cut",
    "cut_cache",
    "ends_in_image",
    "logits_step_by_step",
    "prompt_arguments",
    "replayed_arguments",
    "step_arguments",
    "whole_arguments",
]


def ends_in_image(model: Any, family: Family, prompt: torch.Tensor) -> bool:
    """Whether the last position of a prompt shows an image, in any sample.

    Args:
        family: Its family's rules.
        prompt: Ids with padding ``[batch, prompt]``.

    Returns:
        Whether it does.
    """
    return bool(family.image_mask(model, prompt)[:, -1].any())


def can_be_cut(cache: Any) -> bool:
    """Whether the last positions can be taken away from a cache.

    Args:
        cache: What a forward returned.

    Returns:
        Whether each of its layers keeps all keys and values; other kinds say that they can be cut, or are cut wrongly.
    """
    layers: Sequence[Any] = getattr(cache, "layers", None) or ()
    return bool(layers) and not {type(layer).__name__ for layer in layers} - {"DynamicLayer", "DummyLayer"}


def cut_cache(generation: Generation, crossing: frozenset[int] = frozenset()) -> bool:
    """Cut a generation's cache back to the prompt without its last position.

    Args:
        generation: Its cache holds the prompt and maybe the answer; it is cut in place.
        crossing: Layers whose keys are the image's, which stay whole.

    Returns:
        Whether it could be cut; windowed, static, quantised, recurrent and convolutional layers cannot.
    """
    if not can_be_cut(generation.cache):
        return False
    for number, layer in enumerate(generation.cache.layers):
        if number not in crossing and isinstance(layer, DynamicLayer) and layer.get_seq_length():
            layer.crop(generation.prompt_length - 1 - layer.get_seq_length())
    return True


def _block_arguments(generation: Generation) -> dict[str, Any]:
    """The predicting rows over the cut cache."""
    start, end = generation.prompt_length - 1, generation.ids.shape[1] - 1
    arguments = generation.extra | generation.per_row | {"input_ids": generation.ids[:, start:end]}
    arguments |= {"past_key_values": generation.cache, "use_cache": True}
    if generation.position_ids is not None:
        arguments["position_ids"] = generation.position_ids
    return arguments | {"attention_mask": generation.attention_mask}


def whole_arguments(core: Any, generation: Generation) -> dict[str, Any]:
    """Keyword arguments of a forward over prompt and answer from the start, image inputs included, without a cache.

    Args:
        core: The module whose forward ``generate`` calls.
        generation: What to repeat.

    Returns:
        What the module's forward takes; its last rows predict the answer.
    """
    end = generation.ids.shape[1] - 1
    answer, first = generation.ids[:, generation.prompt_length : end], generation.first
    arguments = dict(first) | {"use_cache": False}
    for name, rows in generation.per_row.items():
        arguments[name] = torch.cat([first[name], rows[:, 1:]], 1)
    for name in first.keys() - generation.per_row.keys():
        types = first[name]
        # Given with the prompt only (Ernie 4.5 VL): what follows is text
        if name.endswith("token_type_ids") and isinstance(types, torch.Tensor):
            arguments[name] = torch.cat([types, types.new_zeros(types.shape[0], end - types.shape[1])], 1)
    if first.get("input_ids") is None:
        arguments["inputs_embeds"] = torch.cat([first["inputs_embeds"], core.get_input_embeddings()(answer)], 1)
    else:
        arguments["input_ids"] = generation.ids[:, :end]
    if generation.position_ids is not None:
        arguments["position_ids"] = torch.cat([first["position_ids"], generation.position_ids[..., 1:]], -1)
    if "logits_to_keep" in inspect.signature(core.forward).parameters:
        arguments["logits_to_keep"] = generation.num_steps
    return arguments | {"attention_mask": generation.attention_mask}


def replayed_arguments(model: Any, family: Family, generation: Generation) -> tuple[dict[str, Any], bool]:
    """Keyword arguments of the forward that repeats an answer, and whether that is one block over the cut cache.

    Args:
        family: Its family's rules.
        generation: What to repeat; its cache is cut back to the prompt where it can be.

    Returns:
        What the forward of the family's core takes; a forward from the start of the prompt where nothing can be cut.
    """
    # A last prompt position that shows the image is no id that could go through again
    image_last = ends_in_image(model, family, generation.ids[:, : generation.prompt_length])
    crossing = family.crossing_layers(model)
    # Before 5.20 Mllama takes a mask over all positions, which the one step before a given answer does not show
    unmasked = bool(crossing) and "answer" in generation.settings
    if not image_last and not unmasked and cut_cache(generation, crossing):
        return _block_arguments(generation), True
    return whole_arguments(family.core(model), generation), False


def prompt_arguments(core: Any, generation: Generation) -> dict[str, Any]:
    """Keyword arguments of the prompt's forward as ``generate`` ran it; the cache is left to the caller.

    Args:
        core: The module whose forward ``generate`` calls.
        generation: What to repeat.

    Returns:
        What the module's forward takes; its last row predicts the first token.
    """
    arguments = dict(generation.first) | {"use_cache": True}
    if "logits_to_keep" in inspect.signature(core.forward).parameters:
        arguments["logits_to_keep"] = 1
    return arguments


def step_arguments(generation: Generation, step: int) -> dict[str, Any]:
    """Keyword arguments of the forward that predicts one token after the first, as ``generate`` ran it.

    Args:
        generation: What to repeat.
        step: Number of the predicted token, 1 or more.

    Returns:
        What the module's forward takes, without the cache.
    """
    position = generation.prompt_length + step - 1
    own = {name: rows[:, step : step + 1] for name, rows in generation.per_row.items()}
    arguments = generation.extra | own | {"input_ids": generation.ids[:, position : position + 1], "use_cache": True}
    if generation.position_ids is not None:
        arguments["position_ids"] = generation.position_ids[..., step : step + 1]
    return arguments | {"attention_mask": generation.attention_mask[:, : position + 1]}


def logits_step_by_step(
    model: Any, family: Family, generation: Generation, *, prompt: AbstractContextManager[Any]
) -> Float[torch.Tensor, "batch step vocabulary"]:
    """What the forwards of ``generate`` give, run again one by one with a cache of their own.

    Args:
        family: Its family's rules.
        generation: What to repeat.
        prompt: Entered around the forward of the prompt alone.

    Returns:
        Logits of the predicting rows, with a graph where gradients are on.
    """
    core, cache = family.core(model), whole_cache(model).get("past_key_values")
    found = []
    for step in range(generation.num_steps):
        given = step_arguments(generation, step) if step else prompt_arguments(core, generation)
        with nullcontext() if step else prompt:
            output = core(**given, past_key_values=cache, return_dict=True)
        cache = output.past_key_values
        found.append(output.logits[:, -1])
    return torch.stack(found, 1)
