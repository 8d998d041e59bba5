"""What the panels of an overlay show: the attention of words, sets of words, layers, heads, or (layer, head) pairs."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import torch

from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.plot.data.head_choice import (
    HeadChoice,
    HeadPart,
    choose_part,
    joined,
    part_text,
    sinks_text,
    word_amount,
)
from lvlmscope.traces.sink_keys import Sinks, sink_mask
from lvlmscope.traces.trace import Trace
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
Panels = Literal["word", "layer", "head", "layer_head"]
_MOST_WORDS: Final = 12
_MOST_PANELS: Final = 128


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
    part = choose_part(trace, layers, heads, each)
    mask = sink_mask(trace, sinks)
    named = [_name_and_steps(trace, one) for one in listed]
    if each == "word":
        panels = [_panel(part, name, word_amount(trace, steps, mask), mask) for name, steps in named]
        return OverlayPanels(each=tuple(panels), shared=part_text(trace, part, sinks))
    name, amount = named[0][0], word_amount(trace, named[0][1], mask)
    if part.pairs is not None:
        panels = [
            _panel(replace(part, pairs=[pair]), f"layer {trace.layer_indices[pair[0]]}, head {pair[1]}", amount, mask)
            for pair in part.pairs
        ]
        return OverlayPanels(each=tuple(panels), shared=joined(name, sinks_text(sinks)))
    if each == "layer":
        existing, rest = part.layers or list(trace.layer_indices), replace(part, layers=None)
    else:
        existing, rest = part.heads or list(range(trace.num_heads)), replace(part, heads=None)
    shown = _evenly_spaced(existing)
    singles = [
        replace(part, positions=[trace.layer_indices.index(n)]) if each == "layer" else replace(part, heads=[n])
        for n in shown
    ]
    panels = [_panel(one, f"{each} {number}", amount, mask) for one, number in zip(singles, shown, strict=True)]
    note = f"{len(shown)} of {len(existing)} {each}s" if len(shown) < len(existing) else ""
    return OverlayPanels(each=tuple(panels), shared=joined(name, part_text(trace, rest, sinks)), note=note)


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
    part = choose_part(trace, layers, heads, "layer_head")
    name, steps = _name_and_steps(trace, _listed(words, "layer_head")[0])
    amount = word_amount(trace, steps, sink_mask(trace, sinks))
    numbers = (part.layers or list(trace.layer_indices), part.heads or list(range(trace.num_heads)))
    places = [trace.layer_indices.index(number) for number in numbers[0]]
    return name, amount[places][:, numbers[1]], numbers, sinks_text(sinks)


def _panel(part: HeadPart, name: str, amount: np.ndarray, mask: torch.Tensor) -> OverlayPanel:
    return OverlayPanel(name=name, attention=part.mean(amount), left_out=part.left_out(mask))


def _listed(words: "WordChoice | Sequence[WordChoice]", each: Panels) -> list[Any]:
    listed = _as_list(words)
    most = _MOST_WORDS if each == "word" else 1
    if not 1 <= len(listed) <= most:
        expected = f"1 to {_MOST_WORDS} words, or one word or set of words with each='layer', 'head' or 'layer_head'"
        raise ModelInputError(
            message(f"{len(listed)} words", expected, "choose fewer", task="draw words over the image")
        )
    return listed


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
