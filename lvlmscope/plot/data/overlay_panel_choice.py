"""What the panels of an overlay show: words, sets of words, layers or heads."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.plot.data.signals import patch_attention
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, find_word

__all__ = ["Asked", "OverlayPanel", "OverlayPanels", "listed_words", "sights_of"]

Asked = str | int | Word | Set[str | int | Word]
_MOST: Final = 12
_LISTED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverlayPanel:
    """One panel.

    Attributes:
        name: The word or words in quotation marks, or the layer or head.
        share: Attention on every key ``[key]``, shares of 1.
    """

    name: str
    share: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverlayPanels:
    """All panels.

    Attributes:
        each: The panels.
        told: What all of them share, for the colour bar; empty when nothing was chosen.
        note: How many layers or heads there are when not all are shown.
    """

    each: tuple[OverlayPanel, ...]
    told: str
    note: str = ""


@task("draw attention over the image")
def sights_of(
    trace: Trace,
    asked: "Asked | Sequence[Asked]",
    each: Literal["word", "layer", "head"],
    layers: Sequence[int] | None,
    heads: Sequence[int] | None,
) -> OverlayPanels:
    """The attention that each panel shows.

    Args:
        trace: A trace.
        asked: A word, a step, a set of them, or a list of such.
        each: What panels differ in.
        layers: Layer numbers; None for all.
        heads: Head numbers; None for all.

    Raises:
        ModelInputError: No words, too many, several where one is due, or no such word, layer or head.
    """
    listed = [asked] if isinstance(asked, str | int | np.integer | Word | Set) else list(asked)
    most = _MOST if each == "word" else 1
    if not 1 <= len(listed) <= most or each not in {"word", "layer", "head"}:
        expected = f"1 to {_MOST} words, or one word or set of words with each='layer' or 'head'"
        raise ModelInputError(
            message(f"{len(listed)} words", expected, "choose fewer", task="draw words over the image")
        )
    subjects = [_subject(trace, one) for one in listed]
    told = ", ".join(text for text in (_numbers("layer", layers), _numbers("head", heads)) if text)
    if each == "word":
        panels = [OverlayPanel(name=n, share=patch_attention(trace, steps, layers, heads)) for n, steps in subjects]
        return OverlayPanels(each=tuple(panels), told=told)
    depth = max(trace.layer_indices) + 1
    layers = None if layers is None else [n + depth if -depth <= n < 0 else n for n in layers]
    (name, steps), pool = subjects[0], layers if each == "layer" else heads
    every = list(pool) if pool is not None else list(trace.layer_indices if each == "layer" else range(trace.num_heads))
    chosen = [every[n] for n in np.linspace(0, len(every) - 1, min(len(every), _MOST)).round().astype(int)]
    panels = []
    for number in chosen:
        parts = {"layers": [number], "heads": heads} if each == "layer" else {"layers": layers, "heads": [number]}
        panels.append(OverlayPanel(name=f"{each} {number}", share=patch_attention(trace, steps, **parts)))
    rest = _numbers("head", heads) if each == "layer" else _numbers("layer", layers)
    note = f"{len(chosen)} of {len(every)} {each}s" if len(chosen) < len(every) else ""
    return OverlayPanels(each=tuple(panels), told=", ".join(text for text in (name, rest) if text), note=note)


def listed_words(trace: Trace, asked: "Asked | Sequence[Asked]", *, plain: bool) -> list[Word]:
    """The words whose maps are given as an array.

    Args:
        trace: A trace.
        asked: A word, or a list of words.
        plain: Whether neither layers nor heads were chosen: a given map has none.

    Raises:
        ModelInputError: A set of words, layers or heads, too many words, or no such word.
    """
    listed = [asked] if isinstance(asked, str | int | np.integer | Word | Set) else list(asked)
    words = [one for one in listed if not isinstance(one, Set)]
    if not 1 <= len(words) <= _MOST or len(words) < len(listed) or not plain:
        got = f"{len(listed)} words" if plain else "values= with each=, layers= or heads="
        expected = f"1 to {_MOST} words, each with a map of its own"
        raise ModelInputError(message(got, expected, "reduce the array first", task="draw values over the image"))
    return [find_word(trace, one) for one in words]


def _subject(trace: Trace, asked: Any) -> tuple[str, list[int]]:
    """Name and steps of a word, or of the words of a set together."""
    if not isinstance(asked, Set):
        word = find_word(trace, asked)
        return f'"{word.text}"', list(word.steps)
    if not asked:
        raise ModelInputError(message("an empty set of words", "one word or more", "name some"))
    words = sorted((find_word(trace, one) for one in asked), key=lambda word: word.start)
    return ", ".join(f'"{word.text}"' for word in words), sorted({step for word in words for step in word.steps})


def _numbers(called: str, numbers: Sequence[int] | None) -> str:
    if numbers is None:
        return ""
    listed = [str(number) for number in numbers]
    if len(listed) > _LISTED:
        return f"{len(listed)} {called}s from {min(numbers)} to {max(numbers)}"
    return f"{called}{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
