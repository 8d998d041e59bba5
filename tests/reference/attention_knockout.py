"""Slow twins of the knockout: LLaVA in float64 loops, and any model's own forward under 4-D masks made by hand."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from tests.reference import decoder


def llava_log_probs(
    model: Any,
    inputs: dict[str, Any],
    answer: torch.Tensor,
    *,
    layers: Collection[int],
    rows: Collection[int],
    keys: Collection[int],
) -> torch.Tensor:
    """Log-probability [step] of each answer token: in these layers these rows do not see these keys, but their own."""

    def edit(layer: int, row: int, weights: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if layer not in layers or row not in rows:
            return weights
        seen = [key for key in range(row + 1) if key == row or key not in keys]
        found = torch.zeros_like(weights)
        for head in range(len(weights)):
            total = sum(torch.exp(scores[head, key] - scores[head].max()) for key in seen)
            for key in seen:
                found[head, key] = torch.exp(scores[head, key] - scores[head].max()) / total
        return found

    ids = torch.cat([inputs["input_ids"][0], answer[:-1]])
    embeds = decoder.embeddings(model, ids, inputs["pixel_values"])
    logits = decoder.logits(model, embeds, 0, edit)[-len(answer) :]
    return torch.log_softmax(logits, -1).gather(-1, answer[:, None])[:, 0]


def continued(inputs: dict[str, Any], answer: torch.Tensor) -> dict[str, Any]:
    """Inputs of a forward over a prompt and its answer."""
    whole = dict(inputs)
    whole["input_ids"] = torch.cat([inputs["input_ids"], answer[None, :-1]], 1)
    for name in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
        if name in inputs:
            fill = 1 if name == "attention_mask" else 0
            whole[name] = torch.cat([inputs[name], inputs[name].new_full((1, len(answer) - 1), fill)], 1)
    return whole


@torch.no_grad()
def masked_log_probs(
    model: Any,
    inputs: dict[str, Any],
    answer: torch.Tensor,
    *,
    layers: Collection[int],
    rows: Collection[int],
    keys: Collection[int],
) -> torch.Tensor:
    """The same of a model on eager attention: its forward over prompt and answer, without a cache."""
    whole = continued(inputs, answer)
    positions = whole["input_ids"].shape[1]
    added = torch.zeros(1, 1, positions, positions, dtype=torch.float64)
    for row in rows:
        for key in keys:
            if row != key:
                added[0, 0, row, key] = torch.finfo(torch.float64).min
    with _added(model, layers, added):
        logits = model(**whole, use_cache=False).logits[0, -len(answer) :]
    return torch.log_softmax(logits.double(), -1).gather(-1, answer[:, None])[:, 0]


@contextmanager
def _added(model: Any, layers: Collection[int], mask: torch.Tensor) -> Iterator[None]:
    """Attention modules of these decoder layers get their mask with another on top."""

    def hook(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        own = kwargs["attention_mask"]
        assert own.shape[-2:] == mask.shape[-2:]
        return args, kwargs | {"attention_mask": torch.where(mask < 0, torch.finfo(own.dtype).min, own)}

    with ExitStack() as steps:
        for name, module in model.named_modules():
            if name.endswith("self_attn") and "vision" not in name and module.layer_idx in layers:
                steps.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield
