"""Logits of each step by full forwards without a cache, and inputs of a prompt changed by hand."""

from collections.abc import Callable
from typing import Any

import torch

Inputs = dict[str, Any]


def with_answer(inputs: Inputs, answer: torch.Tensor) -> Inputs:
    """A prompt and the beginning of its answer, as one prompt."""
    prompt = inputs["input_ids"]
    found = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and value.shape[:2] == prompt.shape:
            fill = 1 if name == "attention_mask" else 0
            more = value.new_full((1, len(answer), *value.shape[2:]), fill)
            found[name] = torch.cat([value, more], 1)
    found["input_ids"] = torch.cat([prompt, answer.unsqueeze(0)], 1)
    return found


@torch.no_grad()
def steps_of(model: Any, inputs: Inputs, answer: torch.Tensor, read: Callable[[Any], Any]) -> list[Any]:
    """What is read of a full forward before each token of an answer."""
    found = []
    for step in range(len(answer)):
        given = with_answer(inputs, answer[:step])
        found.append(read(model(**given, use_cache=False, output_hidden_states=True)))
    return found


def logits_of(model: Any, inputs: Inputs, answer: torch.Tensor) -> list[list[float]]:
    """The model's logits of each step, as plain numbers."""
    return steps_of(model, inputs, answer, lambda output: output.logits[0, -1].double().tolist())


def without_columns(inputs: Inputs, kept: torch.Tensor) -> Inputs:
    """A prompt with some positions, and nothing of an image."""
    size = inputs["input_ids"].shape
    return {
        name: value[:, kept] if isinstance(value, torch.Tensor) and value.shape[:2] == size else value
        for name, value in inputs.items()
        if not any(word in name for word in ("pixel", "image", "video"))
    }


def with_columns(inputs: Inputs, place: int, ids: list[int]) -> Inputs:
    """A prompt with tokens put in before a position."""
    size, found = inputs["input_ids"].shape, dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and value.shape[:2] == size:
            new = (
                torch.tensor([ids]) if name == "input_ids" else torch.full((1, len(ids)), int(name == "attention_mask"))
            )
            found[name] = torch.cat([value[:, :place], new.to(value), value[:, place:]], 1)
    return found
