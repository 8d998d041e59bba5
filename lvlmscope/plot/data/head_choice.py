"""Which layers and heads a figure of attention reads, and the attention averaged over a word's steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.attention.layer_bands import absolute_layers
from lvlmscope.errors import ModelInputError, message
from lvlmscope.traces.requirements import decoder_depth
from lvlmscope.traces.sink_keys import Sinks
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_attention import mean_over_heads, mean_over_steps
from lvlmscope.traces.word_values import defined_mean

__all__ = ["HeadChoice", "HeadPart", "choose_part", "joined", "part_text", "rows_at", "sinks_text", "word_amount"]

HeadChoice = int | tuple[int, int]
_MOST_NUMBERS: Final = 4  # layers or heads that a label lists
_FIX: Final = "choose among these"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadPart:
    """Layers by position and number, and heads or (position, head) pairs; None for all."""

    positions: list[int] | None
    layers: list[int] | None
    heads: list[int] | None
    pairs: list[tuple[int, int]] | None

    def mean(self, amount: np.ndarray) -> np.ndarray:
        """The mean of an amount ``[layer, head, key]`` over them, ``[key]``."""
        if self.pairs is not None:
            return defined_mean(np.stack([amount[pair] for pair in self.pairs]), 0)
        return mean_over_heads(amount, layers=self.positions, heads=self.heads)

    def left_out(self, mask: torch.Tensor) -> np.ndarray:
        """Keys that a mask ``[layer, key]`` takes of all their layers, ``[key]``."""
        positions = self.positions if self.pairs is None else [layer for layer, _ in self.pairs]
        gone: np.ndarray = (mask if positions is None else mask[positions]).all(0).numpy()
        return gone


def choose_part(trace: Trace, layers: Sequence[int] | None, heads: Sequence[HeadChoice] | None, each: str) -> HeadPart:
    """Layers and heads as they are found in the trace.

    Args:
        layers: Decoder layer numbers, negative ones counted from the end; None for all.
        heads: Query head numbers, or (layer, head) pairs; None for all.
        each: What panels differ in.

    Raises:
        ModelInputError: None, one that is not there, or pairs together with layers.
    """
    numbers = None if layers is None else absolute_layers(layers, decoder_depth(trace))
    pairs = [head for head in heads or () if isinstance(head, tuple)]
    if pairs and (len(pairs) < len(heads or ()) or layers is not None or each in ("layer", "layer_head")):
        expected = "heads= as numbers, or as pairs alone with each='word' or 'head' and without layers="
        raise ModelInputError(message("(layer, head) pairs with other choices", expected, "leave one of them out"))
    wanted = absolute_layers([layer for layer, _ in pairs], decoder_depth(trace)) if pairs else numbers
    missing = sorted(set(wanted or ()) - set(trace.layer_indices))
    if missing or (layers is not None and not layers):
        expected = f"one layer or more, layers {trace.layer_indices[0]} to {trace.layer_indices[-1]}"
        raise ModelInputError(message(f"layers {missing}", expected, _FIX))
    plain = [head for _, head in pairs] if pairs else None if heads is None else [h for h in heads if type(h) is int]
    if plain is not None and (not plain or not set(plain) <= set(range(trace.num_heads))):
        raise ModelInputError(message(f"heads {list(heads or ())}", f"heads 0 to {trace.num_heads - 1}", _FIX))
    places = None if wanted is None else [trace.layer_indices.index(number) for number in wanted]
    if pairs:
        return HeadPart(
            positions=None, layers=None, heads=None, pairs=list(zip(places or (), plain or (), strict=True))
        )
    return HeadPart(positions=places, layers=numbers, heads=plain, pairs=None)


def part_text(trace: Trace, part: HeadPart, sinks: Sinks) -> str:
    """Which layers and heads, and what is left out, in words; empty for all."""
    if part.pairs is not None:
        pairs = [f"({trace.layer_indices[layer]}, {head})" for layer, head in part.pairs]
        listed = ", ".join(pairs) if len(pairs) <= _MOST_NUMBERS else f"{len(pairs)} of them"
        return joined(f"(layer, head) {listed}", sinks_text(sinks))
    return joined(_numbers("layer", part.layers), _numbers("head", part.heads), sinks_text(sinks))


def sinks_text(sinks: Sinks) -> str:
    """What is left out, in words; empty for nothing."""
    if isinstance(sinks, str):
        return {"keep": "", "exclude": "sinks left out", "first_key": "key 0 left out"}[sinks]
    return "given sinks left out"


def word_amount(trace: Trace, steps: Sequence[int], mask: torch.Tensor) -> np.ndarray:
    """Attention averaged over steps, float32 ``[layer, head, key]``; without the keys of a mask, which are NaN.

    Args:
        steps: At least one.
        mask: Sinks to leave out ``[layer, key]``: rows are renormalised over the other keys.
    """
    mean = mean_over_steps(lambda step: rows_at(trace, step, mask), steps)
    return np.where(mask.numpy()[:, None], np.nan, mean) if bool(mask.any()) else mean


def rows_at(trace: Trace, step: int, mask: torch.Tensor) -> torch.Tensor:
    """The rows of a step ``[layer, head, key]``, renormalised over the keys that a mask leaves ``[layer, key]``."""
    if not bool(mask.any()):
        return trace.attention[step]
    left = at_least_float32(trace.attention[step]).masked_fill(mask.unsqueeze(1), 0.0)
    return left / left.sum(-1, keepdim=True)


def joined(*texts: str) -> str:
    """Texts that are not empty, with commas between them."""
    return ", ".join(text for text in texts if text)


def _numbers(noun: str, numbers: Sequence[int] | None) -> str:
    if numbers is None:
        return ""
    listed = [str(number) for number in numbers]
    if len(listed) > _MOST_NUMBERS:
        return f"{len(listed)} {noun}s from {min(numbers)} to {max(numbers)}"
    return f"{noun}{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
