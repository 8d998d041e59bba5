"""What an explorer shows of a trace, as JSON values: words with numbers and alternatives, images, facts."""

import math
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

from lvlmscope.explorer.image_panels import ImagePanel, places_of
from lvlmscope.explorer.packed_numbers import plain_number
from lvlmscope.explorer.signal_values import signals_at_words
from lvlmscope.explorer.word_maps import AMOUNTS, WordMaps
from lvlmscope.traces.formatting import facts
from lvlmscope.traces.images import data_uri
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, marked_words

__all__ = ["describe_side"]

_SAME_SHAPE: Final = 0.01  # relative difference of two aspect ratios
_SAID: Final = 400  # characters of a fact


def describe_side(
    amounts: WordMaps, label: str, *, hallucinated: Iterable[Any] = (), grounded: Iterable[Any] = ()
) -> dict[str, Any]:
    """One trace without its maps.

    Args:
        amounts: The trace's amounts.
        label: What to call it beside another.
        hallucinated: Words to mark as hallucinated, as `plot.timeline` takes them.
        grounded: Words to mark as true.

    Returns:
        JSON values.
    """
    trace, words = amounts.trace, amounts.words
    kinds = dict.fromkeys(marked_words(trace, words, grounded), "grounded")
    kinds |= dict.fromkeys(marked_words(trace, words, hallucinated), "hallucinated")
    places = places_of(trace)
    units = _utf16_offsets("".join(trace.answer_tokens))
    shown = [_image(trace, place) for place in places]
    signals, values, refused = signals_at_words(amounts)
    return {
        "label": label,
        "answer": "".join(trace.answer_tokens),
        "words": [_word(trace, word, kinds.get(n, ""), units) for n, word in enumerate(words)],
        "signals": signals,
        "values": values,
        "amounts": [{"id": name, "name": AMOUNTS[name][0], "unit": AMOUNTS[name][1]} for name in amounts.names],
        "layers": list(trace.layer_indices),
        "heads": trace.num_heads,
        "cells": len(amounts.keys),
        "places": [_place(place, image) for place, image in zip(places, shown, strict=True)],
        "notes": _notes(amounts) + refused,
        "facts": [[name, _cut(text)] for name, text in facts(trace)] + _origin(trace),
    }


def _utf16_offsets(text: str) -> list[int]:
    """Place of each character, and of the end, as JavaScript counts: characters beyond U+FFFF take two units."""
    return [0, *accumulate(1 + (ord(character) > 0xFFFF) for character in text)]


def _word(trace: Trace, word: Word, kind: str, units: list[int]) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": units[word.start],
        "end": units[word.end],
        "kind": kind,
        "tokens": [
            {
                "text": trace.answer_tokens[step],
                "p": _probability(trace.log_probs[step].item()),
                "others": _alternatives(trace, step),
            }
            for step in word.steps
        ],
    }


def _alternatives(trace: Trace, step: int) -> list[list[Any]]:
    ids = trace.top_ids[step].tolist()
    texts = trace.top_tokens[step] if trace.top_tokens else tuple(f"token {token}" for token in ids)
    chances = [_probability(value) for value in trace.top_log_probs[step].tolist()]
    written = int(trace.answer_ids[step])
    return [[text, p, token == written] for text, p, token in zip(texts, chances, ids, strict=True)]


def _probability(log_prob: float) -> float | None:
    return plain_number(math.exp(log_prob)) if math.isfinite(log_prob) else None


def _image(trace: Trace, place: ImagePanel) -> tuple[str, str]:
    """The image's data URI, empty when there is none to draw over, and a note."""
    if place.image_index is None:
        return "", place.note
    if place.image_index >= len(trace.images):
        return "", "the trace holds no image: image tokens only"
    image = trace.images[place.image_index]
    ratio = (image.width / image.height) / (place.size[0] / place.size[1])
    if abs(ratio - 1) > _SAME_SHAPE:
        size = f"{image.width} x {image.height}"
        return "", f"the image kept ({size} pixels) has another shape than the one traced: image tokens only"
    return data_uri(image), place.note


def _place(place: ImagePanel, image: tuple[str, str]) -> dict[str, Any]:
    return {
        "name": place.name,
        "size": list(place.size),
        "boxes": [[round(edge, 2) for edge in box] for box in place.boxes],
        "cells": list(place.cells),
        "image": image[0],
        "note": image[1],
    }


def _notes(amounts: WordMaps) -> list[str]:
    trace = amounts.trace
    notes = []
    if not amounts.words:
        notes.append("The answer is empty: there is no word to look at.")
    if not amounts.keys:
        notes.append("The trace has no image tokens: there is no map to show.")
    if trace.num_steps and not bool(trace.attention.isfinite().all()):
        notes.append("Some attention is not a number: such heads are grey, and left out of means.")
    if trace.kept_keys != "all":
        notes.append("Only keys of image and answer were kept.")
    if not trace.top_tokens and trace.num_steps:
        notes.append("The file is of an earlier version: alternatives are token numbers.")
    return notes


def _cut(text: str) -> str:
    return text if len(text) <= _SAID else text[: _SAID - 1] + "…"


def _origin(trace: Trace) -> list[list[str]]:
    versions = trace.provenance.get("versions", {})
    settings = trace.provenance.get("generation", {})
    told = [
        ["versions", ", ".join(f"{name} {number}" for name, number in versions.items())],
        ["generation", ", ".join(f"{name} {value}" for name, value in settings.items())],
    ]
    return [[name, _cut(text)] for name, text in told if text]
