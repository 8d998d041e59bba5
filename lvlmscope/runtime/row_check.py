"""The check that attention rows reproduce what the kernel made of the same call."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float

from lvlmscope.attention.attention_rows import AttentionRows, at_least_float32
from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import mix_values
from lvlmscope.hooks.attention_options import unknown_options
from lvlmscope.hooks.attention_registry import KernelOutput

__all__ = ["RowCheck"]

# Share of the largest value by which head outputs may differ: rounding of scores, which half precision makes large
_LEAST, _MOST, _ROUNDINGS = 1e-3, 0.25, 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measured:
    """What one call gave; it stays on the device until the forward's end.

    Attributes:
        call: The attention call.
        layer: Decoder layer number.
        gaps: Largest difference of the outputs of each row and head; NaN where one is.
        sizes: Largest output of the kernel; not finite where one of its outputs is not.
        value: Largest value of the call.
        score: Largest visible score.
    """

    call: AttentionCall
    layer: int
    gaps: Float[torch.Tensor, "batch row head"]
    sizes: Float[torch.Tensor, "batch row head"]
    value: Float[torch.Tensor, ""]
    score: Float[torch.Tensor, ""]

    @property
    def like(self) -> tuple[object, ...]:
        """Calls that are judged together have this in common."""
        return self.gaps.shape, self.gaps.device, self.gaps.dtype, self.call.value.dtype


class RowCheck:
    """Compares the head outputs that the rows give with the kernel's own, once per call, judged at the forward's end.

    An option that changes the weights and is not understood, a kernel that ignores one, or an attention function that
    reads something from its module shows here, whatever its name.
    """

    def __init__(self) -> None:
        """Start without a forward."""
        self._found: list[_Measured] = []

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
        """Measure one call in few kernels; nothing is moved from the device yet."""
        own = at_least_float32(output[:, call.first_row :])
        gap = at_least_float32(mix_values(rows.weights.transpose(1, 2), call)) - own
        # Of a row's scores the greatest carry its weights: the others' rounding does not matter. -inf on hidden keys
        score = rows.scores.amax().abs().nan_to_num(0.0, 0.0, 0.0)
        measured = _Measured(
            call=call,
            layer=rows.own_layer,
            gaps=_largest(gap, -1),
            sizes=_largest(own, -1),
            value=_largest(call.value),
            score=at_least_float32(score),
        )
        self._found.append(measured)

    def judge(self) -> None:
        """Refuse the forward if a call's rows do not reproduce its output.

        Raises:
            UnsupportedOptionError: They do not, and the call has options that are not understood.
            UnsupportedModelError: They do not, and every option is understood.
        """
        found, self._found = self._found, []
        if not found:
            return
        worst, blamed = max(_ratios(found), key=lambda pair: pair[0])
        if worst <= 1:
            return
        call, layer = blamed.call, blamed.layer
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


def _largest(tensor: Float[torch.Tensor, "*shape"], dim: int | None = None) -> Float[torch.Tensor, "..."]:
    """Largest absolute value, NaN where one is; the tensor is not copied into another precision."""
    sizes = tensor.abs()  # many times faster than a norm on the CPU
    return at_least_float32(sizes.amax() if dim is None else sizes.amax(dim))


def _ratios(found: Sequence[_Measured]) -> Iterator[tuple[float, _Measured]]:
    """The largest gap of each call as a share of what rounding explains, with one read for calls of one shape."""
    groups: dict[tuple[object, ...], list[_Measured]] = {}
    for each in found:
        groups.setdefault(each.like, []).append(each)
    for group in groups.values():
        # Where the kernel's own output is no number, the weights are: the comparison of logits refuses them
        known = torch.stack([each.sizes for each in group]).isfinite()
        gaps = torch.stack([each.gaps for each in group]).where(known, 0.0).nan_to_num(nan=math.inf, posinf=math.inf)
        score = torch.stack([each.score for each in group]).clamp(min=1.0)
        allowed = (_ROUNDINGS * torch.finfo(group[0].call.value.dtype).eps * score).clamp(_LEAST, _MOST)
        size = torch.stack([each.value for each in group]).clamp(min=1e-30)
        ratios = (gaps.flatten(1).amax(1) / (size * allowed)).nan_to_num(nan=math.inf)
        yield from zip(ratios.tolist(), group, strict=True)
