"""Attention rows read from one call, and the check that they reproduce what the kernel made of the same call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.attention_rows import AttentionRows, at_least_float32
from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import hides_nothing, mix_values, row_scores, softmax_rows, visibility
from lvlmscope.hooks.attention_options import require_readable, unknown_options
from lvlmscope.hooks.attention_registry import KernelOutput
from lvlmscope.runtime.protocol import ForwardInfo

__all__ = ["RowCheck", "read_rows"]

# Share of the largest value by which head outputs may differ: rounding of scores, which half precision makes large
_LEAST, _MOST, _ROUNDINGS = 1e-3, 0.25, 4


def read_rows(call: AttentionCall, forward: ForwardInfo, layer: int, *, differentiable: bool) -> AttentionRows:
    """The rows of interest of one attention call.

    Args:
        call: The attention call.
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
    scores = row_scores(call, differentiable=differentiable)
    seen = forward.once(("seen", *_visibility_key(call)), lambda: _Seen.of(call))
    masked = scores if seen.bias is None else scores + seen.bias
    masked = masked if seen.hidden is None else masked.masked_fill(seen.hidden, float("-inf"))
    keys, device, crosses = masked.shape[-1], masked.device, call.crosses
    image = forward.once(("image", keys, device, crosses), lambda: _image_keys(forward, keys, device, crosses))
    span = (0, keys) if crosses else forward.layout.span_on(forward.image_keys.shape[1], keys)
    return AttentionRows(
        softmax_rows(masked, call).transpose(1, 2),
        image,
        answer_keys=lambda: forward.once(
            ("answer", keys, device, crosses), lambda: _answer_keys(forward, keys, device, crosses)
        ),
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


class RowCheck:
    """Compares the head outputs that the rows give with the kernel's own, once per call, judged at the forward's end.

    An option that changes the weights and is not understood, a kernel that ignores one, or an attention function that
    reads something from its module shows here, whatever its name.
    """

    def __init__(self) -> None:
        """Start without a forward."""
        self._found: list[tuple[AttentionCall, int, Float[torch.Tensor, ""]]] = []

    @property
    def is_due(self) -> bool:
        """Whether calls of this forward wait for their judgement."""
        return bool(self._found)

    def begin(self) -> None:
        """Forget the last forward."""
        self._found = []

    def watched(
        self, run: Callable[[], KernelOutput], call: AttentionCall, rows: AttentionRows
    ) -> Callable[[], KernelOutput]:
        """The kernel with a comparison after it.

        Args:
            run: Calls the kernel.
            call: The attention call.
            rows: Its rows of interest before any edit.

        Returns:
            A function that gives the kernel's output.
        """

        def watch() -> KernelOutput:
            output = run()
            self._compare(call, rows, output[0])
            return output

        return watch

    @torch.no_grad()
    def _compare(
        self, call: AttentionCall, rows: AttentionRows, output: Float[torch.Tensor, "batch query head value_dim"]
    ) -> None:
        """Measure one call; nothing is moved from the device yet."""
        own = at_least_float32(output[:, call.first_row :])
        mixed = at_least_float32(mix_values(rows.weights.transpose(1, 2), call))
        known = own.isfinite()  # weights of NaN are refused by the comparison of logits
        gap = torch.where(known, (mixed - own).abs(), 0.0).nan_to_num(nan=float("inf")).max()
        size = at_least_float32(call.value).abs().max().clamp(min=1e-30)
        scores = rows.scores.abs().nan_to_num(posinf=0.0).max().clamp(min=1.0)
        allowed = (_ROUNDINGS * torch.finfo(call.value.dtype).eps * scores).clamp(_LEAST, _MOST)
        self._found.append((call, rows.layer or 0, gap / (size * allowed)))

    def judge(self) -> None:
        """Refuse the forward if a call's rows do not reproduce its output.

        Raises:
            UnsupportedOptionError: They do not, and the call has options that are not understood.
            UnsupportedModelError: They do not, and every option is understood.
        """
        found, self._found = self._found, []
        if not found:
            return
        worst = torch.stack([ratio.float().cpu() for _, _, ratio in found])
        if bool((worst <= 1).all()):
            return
        call, layer, _ = found[int(worst.argmax())]
        names = unknown_options(call)
        where = f"{type(call.module).__name__} (layer {layer}, {call.kernel})"
        expected, doing = "rows that give the kernel's own output", "read attention rows"
        if names:
            got = f"{where} called with {', '.join(f'{name}=' for name in names)}, which changes the weights"
            raise UnsupportedOptionError(message(got, expected, "leave it out, or register a Family", task=doing))
        given = ", ".join(f"{name}=" for name, value in call.options.items() if value is not None)
        got = f"{where}, whose output is not that of softmax weights made from {given or 'its scores'}"
        fix = "choose another kernel with model.set_attn_implementation, or register a Family"
        raise UnsupportedModelError(message(got, expected, fix, task=doing))
