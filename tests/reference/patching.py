"""Slow twins of activation patching: LLaVA's stream in float64 loops, and heads by hooks on the output projections."""

from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

import torch

from tests.reference import decoder
from tests.reference.attention_knockout import continued


def _llava_run(model: Any, inputs: dict[str, Any], answer: torch.Tensor, shift: decoder.Shift) -> torch.Tensor:
    ids = torch.cat([inputs["input_ids"][0], answer[:-1]])
    embeds = decoder.embeddings(model, ids, inputs["pixel_values"])
    logits = decoder.logits(model, embeds, 0, decoder.unedited, shift)[-len(answer) :]
    return torch.log_softmax(logits, -1).gather(-1, answer[:, None])[:, 0]


def llava_stream(
    model: Any,
    clean: dict[str, Any],
    corrupted: dict[str, Any],
    answer: torch.Tensor,
    *,
    layer: int,
    positions: Collection[int],
) -> torch.Tensor:
    """Log-probability [step] under the corrupted image with the clean stream after a layer at some positions."""
    kept: dict[tuple[int, int], torch.Tensor] = {}

    def keep(at: int, row: int, stream: torch.Tensor) -> torch.Tensor:
        kept[at, row] = stream
        return stream

    def put(at: int, row: int, stream: torch.Tensor) -> torch.Tensor:
        return kept[at, row] if at == layer and row in positions else stream

    _llava_run(model, clean, answer, keep)
    return _llava_run(model, corrupted, answer, put)


@torch.no_grad()
def head_log_probs(
    model: Any,
    clean: dict[str, Any],
    corrupted: dict[str, Any],
    answer: torch.Tensor,
    *,
    layer: int,
    head: int,
    positions: Collection[int],
) -> torch.Tensor:
    """The same with one head's clean output, by hooks before the output projection of a whole forward."""
    (module,) = (
        each
        for name, each in model.named_modules()
        if name.endswith("self_attn") and "vision" not in name and each.layer_idx == layer
    )
    part = slice(head * module.head_dim, (head + 1) * module.head_dim)
    kept: list[torch.Tensor] = []

    def keep(_: Any, args: tuple[torch.Tensor]) -> None:
        kept.append(args[0].clone())

    def put(_: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        changed = args[0].clone()
        for position in positions:
            changed[0, position, part] = kept[0][0, position, part]
        return (changed,)

    found = []
    for inputs, hook in ((clean, keep), (corrupted, put)):
        with ExitStack() as steps:
            steps.callback(module.o_proj.register_forward_pre_hook(hook).remove)
            found.append(model(**continued(inputs, answer), use_cache=False).logits[0, -len(answer) :])
    return torch.log_softmax(found[1].double(), -1).gather(-1, answer[:, None])[:, 0]
