"""What the panels of an overlay show: the attention of words, sets of words, layers or heads."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from lvlmscope.attention.layer_bands import absolute_layers
from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.traces.requirements import decoder_depth
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_attention import mean_over_heads, mean_over_steps
from lvlmscope.traces.words import Word, find_word

__all__ = ["OverlayPanel", "OverlayPanels", "WordChoice", "choose_panels", "words_with_maps"]

WordChoice = str | int | Word | Set[str | int | Word]
_MOST_PANELS: Final = 12
_MOST_NUMBERS: Final = 4  # layers or heads that a label lists


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverlayPanel:
    """One panel.

    Attributes:
        name: The word or words in quotation marks, or the layer or head.
        attention: On every key ``[key]``, shares of 1.
    """

    name: str
    attention: np.ndarray


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
    heads: Sequence[int] | None,
) -> OverlayPanels:
    """The attention that each panel shows.

    Args:
        words: A word, a step, a set of them, or a list of such.
        each: What panels differ in.
        layers: Decoder layer numbers, negative ones counted from the end; None for all.
        heads: Query head numbers; None for all.

    Raises:
        ModelInputError: No words, too many, several where one is due, or no such word, layer or head.
    """
    listed = _as_list(words)
    most = _MOST_PANELS if each == "word" else 1
    if not 1 <= len(listed) <= most:
        expected = f"1 to {_MOST_PANELS} words, or one word or set of words with each='layer' or 'head'"
        raise ModelInputError(
            message(f"{len(listed)} words", expected, "choose fewer", task="draw words over the image")
        )
    layers = None if layers is None else absolute_layers(layers, decoder_depth(trace))
    named = [_name_and_steps(trace, one) for one in listed]
    if each == "word":
        panels = [OverlayPanel(name=name, attention=_attention(trace, steps, layers, heads)) for name, steps in named]
        return OverlayPanels(each=tuple(panels), shared=_joined(_numbers("layer", layers), _numbers("head", heads)))
    name, steps = named[0]
    existing = trace.layer_indices if each == "layer" else range(trace.num_heads)
    wanted = layers if each == "layer" else heads
    numbers = list(existing if wanted is None else wanted)
    shown = _evenly_spaced(numbers)
    panels = []
    for number in shown:
        parts = {"layers": [number], "heads": heads} if each == "layer" else {"layers": layers, "heads": [number]}
        panels.append(OverlayPanel(name=f"{each} {number}", attention=_attention(trace, steps, **parts)))
    averaged = _numbers("head", heads) if each == "layer" else _numbers("layer", layers)
    note = f"{len(shown)} of {len(numbers)} {each}s" if len(shown) < len(numbers) else ""
    return OverlayPanels(each=tuple(panels), shared=_joined(name, averaged), note=note)


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
    if not 1 <= len(single) <= _MOST_PANELS or len(single) < len(listed) or not averaged:
        got = f"{len(listed)} words" if averaged else "values= with each=, layers= or heads="
        expected = f"1 to {_MOST_PANELS} words, each with a map of its own"
        raise ModelInputError(message(got, expected, "reduce the array first", task="draw values over the image"))
    return [find_word(trace, one) for one in single]


def _as_list(words: Any) -> list[Any]:
    if isinstance(words, str | int | np.integer | Word | Set):
        return [words]
    return list(each_of("word", words, "a word of the answer, a step's number, a set of them, or a list of such"))


def _attention(
    trace: Trace, steps: Sequence[int], layers: Sequence[int] | None, heads: Sequence[int] | None
) -> np.ndarray:
    """Attention on every key, averaged over steps, heads and layers; ``[key]``, shares of 1."""
    fix = "choose among these"
    missing = sorted(set(layers or ()) - set(trace.layer_indices))
    if missing or (layers is not None and not layers):
        expected = f"one layer or more, layers {trace.layer_indices[0]} to {trace.layer_indices[-1]}"
        raise ModelInputError(message(f"layers {missing}", expected, fix))
    if heads is not None and (not len(heads) or not set(heads) <= set(range(trace.num_heads))):
        raise ModelInputError(message(f"heads {list(heads)}", f"heads 0 to {trace.num_heads - 1}", fix))
    positions = None if layers is None else [n for n, number in enumerate(trace.layer_indices) if number in layers]
    return mean_over_heads(mean_over_steps(lambda step: trace.attention[step], steps), layers=positions, heads=heads)


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
