"""Slow twins of the tap: full attention maps by a stock softmax in the model's dtype, one backward per token."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "twin"


@contextmanager
def full_maps(model: Any) -> Iterator[list[torch.Tensor]]:
    """Run the decoder with plain attention in the model's own dtype, keeping each map ``[batch, head, query, key]``."""
    maps: list[torch.Tensor] = []

    def attend(_, query, key, value, attention_mask, scaling=None, **__):
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(2, 3) * scaling
        queries, keys = scores.shape[-2:]
        if attention_mask is None:
            attention_mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
        weights = torch.softmax(scores.masked_fill(~attention_mask, float("-inf")), -1)
        maps.append(weights)
        return (weights @ value).transpose(1, 2).contiguous(), None

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    before = model.get_decoder().config._attn_implementation
    model.set_attn_implementation({"text_config": NAME})
    try:
        yield maps
    finally:
        model.set_attn_implementation({"text_config": before})
        AttentionInterface._global_mapping.pop(NAME)
        AttentionMaskInterface._global_mapping.pop(NAME)


def rows_and_gradients(
    model: Any, inputs: dict[str, Any], answer: torch.Tensor
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    """Each token's predicting row and ``d loss / d attention`` by layer, each ``[head, key]``, from its own pass."""
    rows, gradients = [], []
    prompt = inputs["input_ids"]
    for step, token in enumerate(answer.tolist()):
        ids = torch.cat([prompt, answer[None, :step]], 1)
        extended = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        extended["pixel_values"] = inputs["pixel_values"].clone().requires_grad_(True)
        for name in ("token_type_ids", "mm_token_type_ids"):  # 0 is text
            if name in inputs:
                extended[name] = torch.cat([inputs[name], torch.zeros_like(answer[None, :step])], 1)
        with full_maps(model) as maps:
            logits = model(**(inputs | extended)).logits
            loss = -torch.log_softmax(logits[0, -1], -1)[token]
            found = torch.autograd.grad(loss, maps)
        rows.append([m[0, :, -1].detach() for m in maps])
        # A key outside the row's window has a slope, too, but is none of its own
        gradients.append([(g * (m != 0))[0, :, -1] for g, m in zip(found, maps, strict=True)])
    return rows, gradients
