"""What the panels of an overlay show: the attention of words, sets of words, layers, heads, or (layer, head) pairs."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import torch

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.attention.layer_bands import absolute_layers
from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.traces.requirements import decoder_depth
from lvlmscope.traces.sink_keys import Sinks, sink_mask
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_attention import mean_over_heads, mean_over_steps
from lvlmscope.traces.word_values import defined_mean
from lvlmscope.traces.words import Word, find_word

__all__ = [
    "HeadChoice",
    "OverlayPanel",
    "OverlayPanels",
    "Panels",
    "WordChoice",
    "choose_heads",
    "choose_panels",
    "words_with_maps",
]

WordChoice = str | int | Word | Set[str | int | Word]
HeadChoice = int | tuple[int, int]
Panels = Literal["word", "layer", "head", "layer_head"]
_MOST_WORDS: Final = 12
_MOST_PANELS: Final = 128
_MOST_NUMBERS: Final = 4  # layers or heads that a label lists
_FIX: Final = "choose among these"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverlayPanel:
    """One panel.

    Attributes:
        name: The word or words in quotation marks, or the layer or head.
        attention: On every key ``[key]``, shares of 1.
        left_out: Sinks of all the layers that are averaged over, which have no value ``[key]``.
    """

    name: str
    attention: np.ndarray
    left_out: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverlayPanels:
    """All panels.

    Attributes:
        each: The panels.
        shared: What all of them share, for the colour bar; empty when all layers and heads of words are averaged.
        note: How many layers or heads there are when not all are shown.
    """

    each: tuple[OverlayPanel, ...]
    shared: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Layers by position and number, and heads or (position, head) pairs; None for all."""

    positions: list[int] | None
    layers: list[int] | None
    heads: list[int] | None
    pairs: list[tuple[int, int]] | None

    def panel(self, name: str, amount: np.ndarray, mask: torch.Tensor) -> OverlayPanel:
        """The mean of an amount ``[layer, head, key]`` over them; left out are keys that a mask takes of all layers."""
        positions = self.positions
        if self.pairs is not None:
            positions = [layer for layer, _ in self.pairs]
            mean = defined_mean(np.stack([amount[pair] for pair in self.pairs]), 0)
        else:
            mean = mean_over_heads(amount, layers=positions, heads=self.heads)
        gone = (mask if positions is None else mask[positions]).all(0)
        return OverlayPanel(name=name, attention=mean, left_out=gone.numpy())


@task("draw attention over the image")
def choose_panels(
    trace: Trace,
    words: "WordChoice | Sequence[WordChoice]",
    each: Literal["word", "layer", "head"],
    layers: Sequence[int] | None,
    heads: Sequence[HeadChoice] | None,
    *,
    sinks: Sinks = "keep",
) -> OverlayPanels:
    """The attention that each panel shows.

    Args:
        words: A word, a step, a set of them, or a list of such.
        each: What panels differ in.
        layers: Decoder layer numbers, negative ones counted from the end; None for all.
        heads: Query head numbers, or (layer, head) pairs; None for all.
        sinks: Keys to leave out.

    Raises:
        ModelInputError: No words, too many, several where one is due, or no such word, layer or head.
    """
    listed = _listed(words, each)
    part = _part(trace, layers, heads, each)
    mask = sink_mask(trace, sinks)
    named = [_name_and_steps(trace, one) for one in listed]
    if each == "word":
        panels = [part.panel(name, word_amount(trace, steps, mask), mask) for name, steps in named]
        return OverlayPanels(each=tuple(panels), shared=_shared(trace, part, sinks))
    name, amount = named[0][0], word_amount(trace, named[0][1], mask)
    if part.pairs is not None:
        panels = [
            replace(part, pairs=[pair]).panel(f"layer {trace.layer_indices[pair[0]]}, head {pair[1]}", amount, mask)
            for pair in part.pairs
        ]
        return OverlayPanels(each=tuple(panels), shared=_joined(name, _sinks_told(sinks)))
    if each == "layer":
        existing, rest = part.layers or list(trace.layer_indices), replace(part, layers=None)
    else:
        existing, rest = part.heads or list(range(trace.num_heads)), replace(part, heads=None)
    shown = _evenly_spaced(existing)
    singles = [
        replace(part, positions=[trace.layer_indices.index(n)]) if each == "layer" else replace(part, heads=[n])
        for n in shown
    ]
    panels = [one.panel(f"{each} {number}", amount, mask) for one, number in zip(singles, shown, strict=True)]
    note = f"{len(shown)} of {len(existing)} {each}s" if len(shown) < len(existing) else ""
    return OverlayPanels(each=tuple(panels), shared=_joined(name, _shared(trace, rest, sinks)), note=note)


@task("draw attention over the image")
def choose_heads(
    trace: Trace,
    words: "WordChoice | Sequence[WordChoice]",
    layers: Sequence[int] | None,
    heads: Sequence[HeadChoice] | None,
    *,
    sinks: Sinks = "keep",
) -> tuple[str, np.ndarray, tuple[list[int], list[int]], str]:
    """The attention of each of many heads on every key, of one word or set of words.

    Args:
        words: A word, a step, a set of them, or a list of one such.
        layers: As in `choose_panels`.
        heads: Query head numbers; None for all.
        sinks: Keys to leave out.

    Returns:
        Name, attention ``[layer, head, key]``, layer and head numbers, and what is left out, in words.

    Raises:
        ModelInputError: As `choose_panels`.
    """
    part = _part(trace, layers, heads, "layer_head")
    name, steps = _name_and_steps(trace, _listed(words, "layer_head")[0])
    amount = word_amount(trace, steps, sink_mask(trace, sinks))
    numbers = (part.layers or list(trace.layer_indices), part.heads or list(range(trace.num_heads)))
    places = [trace.layer_indices.index(number) for number in numbers[0]]
    return name, amount[places][:, numbers[1]], numbers, _sinks_told(sinks)


def _listed(words: "WordChoice | Sequence[WordChoice]", each: Panels) -> list[Any]:
    listed = _as_list(words)
    most = _MOST_WORDS if each == "word" else 1
    if not 1 <= len(listed) <= most:
        expected = f"1 to {_MOST_WORDS} words, or one word or set of words with each='layer', 'head' or 'layer_head'"
        raise ModelInputError(
            message(f"{len(listed)} words", expected, "choose fewer", task="draw words over the image")
        )
    return listed


def word_amount(trace: Trace, steps: Sequence[int], mask: torch.Tensor) -> np.ndarray:
    """Attention averaged over steps, float32 ``[layer, head, key]``; without the keys of a mask, which are NaN.

    Args:
        steps: At least one.
        mask: Sinks to leave out ``[layer, key]``: rows are renormalised over the other keys.
    """
    if not bool(mask.any()):
        return mean_over_steps(lambda step: trace.attention[step], steps)

    def without_sinks(step: int) -> torch.Tensor:
        left = at_least_float32(trace.attention[step]).masked_fill(mask.unsqueeze(1), 0.0)
        return left / left.sum(-1, keepdim=True)

    mean = mean_over_steps(without_sinks, steps)
    return np.where(mask.numpy()[:, None], np.nan, mean)


def words_with_maps(trace: Trace, words: "WordChoice | Sequence[WordChoice]", *, averaged: bool) -> list[Word]:
    """The words whose maps are given as an array.

    Args:
        words: A word, or a list of words.
        averaged: Whether all layers and heads are averaged: a given map has none to choose from.

    Raises:
        ModelInputError: A set of words, layers or heads, too many words, or no such word.
    """
    listed = _as_list(words)
    single = [one for one in listed if not isinstance(one, Set)]
    if not 1 <= len(single) <= _MOST_WORDS or len(single) < len(listed) or not averaged:
        got = f"{len(listed)} words" if averaged else "values= with each=, layers= or heads="
        expected = f"1 to {_MOST_WORDS} words, each with a map of its own"
        raise ModelInputError(message(got, expected, "reduce the array first", task="draw values over the image"))
    return [find_word(trace, one) for one in single]


def _as_list(words: Any) -> list[Any]:
    if isinstance(words, str | int | np.integer | Word | Set):
        return [words]
    return list(each_of("word", words, "a word of the answer, a step's number, a set of them, or a list of such"))


def _part(trace: Trace, layers: Sequence[int] | None, heads: Sequence[HeadChoice] | None, each: Panels) -> _Part:
    """Layers and heads as they are found in the trace.

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
        return _Part(positions=None, layers=None, heads=None, pairs=list(zip(places or (), plain or (), strict=True)))
    return _Part(positions=places, layers=numbers, heads=plain, pairs=None)


def _shared(trace: Trace, part: _Part, sinks: Sinks) -> str:
    if part.pairs is not None:
        pairs = [f"({trace.layer_indices[layer]}, {head})" for layer, head in part.pairs]
        listed = ", ".join(pairs) if len(pairs) <= _MOST_NUMBERS else f"{len(pairs)} of them"
        return _joined(f"(layer, head) {listed}", _sinks_told(sinks))
    return _joined(_numbers("layer", part.layers), _numbers("head", part.heads), _sinks_told(sinks))


def _sinks_told(sinks: Sinks) -> str:
    if isinstance(sinks, str):
        return {"keep": "", "exclude": "sinks left out", "first_key": "key 0 left out"}[sinks]
    return "given sinks left out"


def _name_and_steps(trace: Trace, choice: Any) -> tuple[str, list[int]]:
    """Name and steps of a word, or of the words of a set together."""
    if not isinstance(choice, Set):
        word = find_word(trace, choice)
        return f'"{word.text}"', list(word.steps)
    if not choice:
        raise ModelInputError(message("an empty set of words", "one word or more", "name some"))
    words = sorted((find_word(trace, one) for one in choice), key=lambda word: word.start)
    return ", ".join(f'"{word.text}"' for word in words), sorted({step for word in words for step in word.steps})


def _evenly_spaced(numbers: Sequence[int]) -> list[int]:
    """As many of the numbers as there is room for, the first and the last among them."""
    positions = np.linspace(0, len(numbers) - 1, min(len(numbers), _MOST_PANELS)).round().astype(int)
    return [numbers[position] for position in positions]


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _numbers(noun: str, numbers: Sequence[int] | None) -> str:
    if numbers is None:
        return ""
    listed = [str(number) for number in numbers]
    if len(listed) > _MOST_NUMBERS:
        return f"{len(listed)} {noun}s from {min(numbers)} to {max(numbers)}"
    return f"{noun}{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
