"""A decoder whose attention is computed naively, with weights edited by hand: no code of the package."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "by_hand"


@contextmanager
def editing_weights(model: Any, edit: Callable[[int, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Let attention weights be edited after the softmax.

    Args:
        model: A model on the attention registry.
        edit: Gets a decoder layer's number and weights ``[batch, head, query, key]``, returns new ones.

    Yields:
        Nothing.
    """
    decoder = model.model.language_model if hasattr(model.model, "language_model") else model.model.text_model
    own = set(decoder.modules())

    def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, **options: Any) -> Any:
        groups = query.shape[1] // key.shape[1]
        key, value = (each.repeat_interleave(groups, 1).double() for each in (key, value))
        scaling = options.get("scaling") or query.shape[-1] ** -0.5
        scores = query.double() @ key.transpose(2, 3) * scaling
        if attention_mask is not None:
            scores = scores + attention_mask[..., : key.shape[2]].double()
        weights = scores.softmax(-1)
        if module in own:
            weights = edit(int(module.layer_idx), weights)
        return (weights @ value).transpose(1, 2).to(query.dtype), None

    before = model.config._attn_implementation
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    try:
        model.set_attn_implementation(NAME)
        yield
    finally:
        model.set_attn_implementation(before)
        del AttentionInterface._global_mapping[NAME], AttentionMaskInterface._global_mapping[NAME]
