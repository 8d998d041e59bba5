"""Attention rows read from one call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import UnsupportedOptionError, message
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import hides_nothing, row_scores, softmax_rows, visibility
from lvlmscope.hooks.attention_options import require_readable
from lvlmscope.runtime.protocol import ForwardInfo

__all__ = ["read_prompt_rows", "read_rows"]


def read_rows(call: AttentionCall, forward: ForwardInfo, layer: int, *, differentiable: bool) -> AttentionRows:
    """The rows of interest of one attention call.

    Args:
        forward: The forward it belongs to.
        layer: Decoder layer number.
        differentiable: As in ``row_scores``.

    Returns:
        Rows ``[batch, row, head, key]``.

    Raises:
        UnsupportedOptionError: Options or a mask from which the weights cannot be computed, or rows left out of a layer
            (Gemma4 without a cache).
    """
    require_readable(call)
    if call.num_rows < forward.num_rows:
        got = f"a forward in which layer {layer} gets the last {call.num_rows} of {forward.num_rows} predicting rows"
        expected, fix = "every predicting row in every layer", "generate with a cache (use_cache=True)"
        raise UnsupportedOptionError(message(got, expected, fix, task="read attention rows"))
    seen = forward.once(("seen", *_visibility_key(call)), lambda: _Seen.of(call))
    keys, device, crosses = call.key.shape[2], call.query.device, call.crosses

    def answer_keys() -> Bool[torch.Tensor, "1 row key"]:
        found: torch.Tensor = forward.once(
            ("answer", keys, device, crosses), lambda: _answer_keys(forward, keys, device, crosses)
        )
        return found

    scores = row_scores(call, differentiable=differentiable)
    return _rows(call, forward, layer, seen=seen, scores=scores, answer_keys=answer_keys)


def read_prompt_rows(call: AttentionCall, forward: ForwardInfo, layer: int) -> AttentionRows:
    """Some rows of a prompt before its last one.

    Args:
        forward: The forward it belongs to.
        layer: Decoder layer number.

    Returns:
        Rows ``[batch, row, head, key]``; those of padding that see no key have no weight.

    Raises:
        UnsupportedOptionError: Options or a mask from which the weights cannot be computed.
    """
    require_readable(call)
    none = torch.zeros(1, 1, call.key.shape[2], dtype=torch.bool, device=call.query.device)
    # What each part sees is not kept for the layers that follow: all parts together are a square
    rows = _rows(call, forward, layer, seen=_Seen.of(call), scores=row_scores(call), answer_keys=lambda: none)
    return rows.replace(weights=rows.weights.nan_to_num(0.0), scores=lambda: rows.scores)


def _rows(
    call: AttentionCall,
    forward: ForwardInfo,
    layer: int,
    *,
    seen: "_Seen",
    scores: Float[torch.Tensor, "batch head row key"],
    answer_keys: Callable[[], Bool[torch.Tensor, "1 #row key"]],
) -> AttentionRows:
    masked = scores if seen.bias is None else scores + seen.bias
    masked = masked if seen.hidden is None else masked.masked_fill(seen.hidden, float("-inf"))
    keys, device, crosses = masked.shape[-1], masked.device, call.crosses
    image = forward.once(("image", keys, device, crosses), lambda: _image_keys(forward, keys, device, crosses))
    span = (0, keys) if crosses else forward.layout.span_on(forward.image_keys.shape[1], keys)
    return AttentionRows(
        softmax_rows(masked, call).transpose(1, 2),
        image,
        answer_keys=answer_keys,
        visible_keys=seen.by_row.expand(image.shape[0], -1, -1),
        layer=layer,
        scores=lambda: masked.transpose(1, 2),
        image_span=span,
        sees_all_keys=seen.hidden is None,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What the mask of a call says; layers of one forward share it."""

    hidden: Bool[torch.Tensor, "#batch #head row key"] | None
    bias: Float[torch.Tensor, "#batch #head row key"] | None
    by_row: Bool[torch.Tensor, "#batch row key"]
    mask: Any  # kept, so that no other mask of this forward gets its identity

    @classmethod
    def of(cls, call: AttentionCall) -> "_Seen":
        """Read the mask."""
        if call.mask is None and hides_nothing(call):
            every = torch.ones(1, call.num_rows, call.key.shape[2], dtype=torch.bool, device=call.query.device)
            return cls(hidden=None, bias=None, by_row=every, mask=None)
        visible, bias = visibility(call)
        return cls(hidden=~visible, bias=bias, by_row=visible.any(1), mask=call.mask)


def _visibility_key(call: AttentionCall) -> tuple[Any, ...]:
    """What visibility depends on, beside what is the same in all layers; masks by identity."""
    options = tuple(call.options.get(name) for name in ("is_causal", "sliding_window"))
    own = getattr(call.module, "is_causal", True)
    return id(call.mask), call.key.shape[2], call.num_rows, call.query.device, call.kernel, options, own


def _image_keys(
    forward: ForwardInfo, keys: int, device: torch.device, crosses: bool
) -> Bool[torch.Tensor, "batch 1 key"]:
    """Which keys hold an image token."""
    image = forward.image_keys.new_ones(1, 1) if crosses else _aligned(forward.image_keys, keys)[:, None]
    return image.to(device).expand(forward.batch_size, 1, keys)


def _answer_keys(
    forward: ForwardInfo, keys: int, device: torch.device, crosses: bool
) -> Bool[torch.Tensor, "1 row key"]:
    """Which keys hold a token that was generated before each row, its own among them."""
    positions = torch.arange(forward.image_keys.shape[1], device=device)
    answer = (positions >= forward.prompt_length) & (positions <= forward.row_positions.to(device)[:, None])
    return (answer.new_zeros(answer.shape[0], keys) if crosses else _aligned(answer, keys))[None]


def _aligned(flags: Bool[torch.Tensor, "... position"], keys: int) -> Bool[torch.Tensor, "... key"]:
    """Flags over positions cut or padded to the key axis: a window keeps the last, a static cache has spare ones."""
    length = flags.shape[-1]
    if length >= keys:
        return flags[..., length - keys :]
    return torch.nn.functional.pad(flags, (0, keys - length))
