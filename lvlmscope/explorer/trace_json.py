"""What an explorer shows of a trace, as JSON values: words with numbers and alternatives, images, facts."""

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import xarray as xr

from lvlmscope.diagnostics import image_attention_focus, layer_image_entropy, saliency_to_image, saliency_to_previous
from lvlmscope.explorer.image_panels import ImagePanel, places_of
from lvlmscope.explorer.packed_numbers import plain_number
from lvlmscope.explorer.word_maps import AMOUNTS, WordMaps
from lvlmscope.traces.formatting import facts
from lvlmscope.traces.images import data_uri
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, marked_words

__all__ = ["SIGNALS", "describe_side", "word_signals"]

# Name, unit and meaning of each
SIGNALS: Final = {
    "image_attention": ("image attention", "share of 1", "IAF, at this row also S_v: mean over layers and heads"),
    "layer_image_entropy": (
        "layer image entropy",
        "nats",
        "LIAE: how spread the look at the image is; mean over layers",
    ),
    "saliency_to_image": ("saliency of the image", "of the row's norm", "summed over the image; mean over layers"),
    "saliency_to_previous": (
        "saliency of the word before",
        "of the row's norm",
        "low where a token comes from nowhere; mean over layers",
    ),
    "entropy": ("next-token entropy", "nats", "how unsure the model was"),
    "log_prob": ("log-probability", "nats", "ln p of the token written"),
    "risk": (
        "risk of being hallucinated",
        "share of 1",
        "of judged words; without a calibration a rank in this answer",
    ),
    "margin": ("margin", "nats", "gap of the two highest log-probabilities"),
}
_SAME_SHAPE: Final = 0.01  # relative difference of two aspect ratios
_SAID: Final = 400  # characters of a fact


def word_signals(amounts: WordMaps) -> dict[str, list[float | None]]:
    """Every signal's mean over each word's tokens; None where it is not defined.

    Args:
        amounts: The trace's amounts.

    Returns:
        By the ids of `SIGNALS`, those that the trace alone allows: one number per word.
    """
    trace = amounts.trace
    steps: dict[str, np.ndarray] = {}
    if amounts.keys and trace.num_steps and trace.num_layers and trace.num_heads:
        steps["image_attention"] = _over_steps(image_attention_focus(trace))
        steps["layer_image_entropy"] = _over_steps(layer_image_entropy(trace))
        if "saliency" in amounts.names:
            steps["saliency_to_image"] = _over_steps(saliency_to_image(trace))
            steps["saliency_to_previous"] = _over_steps(saliency_to_previous(trace))
    steps["entropy"] = trace.entropy.numpy()
    steps["log_prob"] = trace.log_probs.numpy()
    steps["margin"] = trace.margin.numpy()
    return {name: [_mean(values[list(word.steps)]) for word in amounts.words] for name, values in steps.items()}


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
    shown = [_image(trace, place) for place in places]
    return {
        "label": label,
        "answer": "".join(trace.answer_tokens),
        "words": [_word(trace, word, kinds.get(n, "")) for n, word in enumerate(words)],
        "values": word_signals(amounts),
        "amounts": [{"id": name, "name": AMOUNTS[name][0], "unit": AMOUNTS[name][1]} for name in amounts.names],
        "layers": list(trace.layer_indices),
        "heads": trace.num_heads,
        "cells": len(amounts.keys),
        "places": [_place(place, image) for place, image in zip(places, shown, strict=True)],
        "notes": _notes(amounts),
        "facts": [[name, _cut(text)] for name, text in facts(trace)] + _origin(trace),
    }


def _over_steps(signal: xr.DataArray) -> np.ndarray:
    others = [dim for dim in signal.dims if dim != "step"]
    mean: np.ndarray = signal.mean(others).to_numpy()
    return mean


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return plain_number(float(finite.mean())) if finite.size else None


def _word(trace: Trace, word: Word, kind: str) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": word.start,
        "end": word.end,
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
