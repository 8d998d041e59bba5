"""What an explorer shows of a trace, as JSON values: words with numbers and alternatives, images, facts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any, Final

from lvlmscope.explorer.given_maps import given_maps
from lvlmscope.explorer.image_panels import ImagePanel, image_panels_of
from lvlmscope.explorer.packed_numbers import plain_number
from lvlmscope.explorer.signal_values import signals_at_words
from lvlmscope.explorer.word_maps import QUANTITIES, WordMaps
from lvlmscope.traces.formatting import facts, shortened
from lvlmscope.traces.image_identity import data_uri
from lvlmscope.traces.layout_images import image_of_layout, same_aspect
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, marked_words

__all__ = ["describe_side"]

_LONGEST: Final = 400  # characters of a fact


def describe_side(
    word_maps: WordMaps,
    label: str,
    *,
    hallucinated: Iterable[Any] = (),
    grounded: Iterable[Any] = (),
    maps: Iterable[Any] = (),
    kinds: Sequence[str] | None = None,
) -> dict[str, Any]:
    """One trace without its maps.

    Args:
        word_maps: The trace's maps.
        label: Heading where two traces are shown.
        hallucinated: Words to mark as hallucinated, as `plot.timeline` takes them.
        grounded: Words to mark as grounded, likewise.
        maps: Maps of words that were computed beside the trace.
        kinds: Kinds of signals to read; None for all.

    Returns:
        JSON values.
    """
    trace, words = word_maps.trace, word_maps.words
    marks = dict.fromkeys(marked_words(trace, words, grounded), "grounded")
    marks |= dict.fromkeys(marked_words(trace, words, hallucinated), "hallucinated")
    units = _utf16_offsets("".join(trace.answer_tokens))
    signals, values, refused = signals_at_words(word_maps, kinds)
    panels = [_panel(trace, panel) for panel in image_panels_of(trace)]
    return {
        "label": label,
        "answer": "".join(trace.answer_tokens),
        "words": [_word(trace, word, marks.get(n, ""), units) for n, word in enumerate(words)],
        "signals": signals,
        "values": values,
        "diagnosis": [],
        "quantities": [{"id": name} | asdict(QUANTITIES[name]) for name in word_maps.names]
        + given_maps(word_maps, maps, panels),
        "layers": list(trace.layer_indices),
        "heads": trace.num_heads,
        "cells": len(word_maps.keys),
        "panels": panels,
        "notes": _notes(word_maps) + refused,
        "facts": [[name, shortened(text, _LONGEST)] for name, text in facts(trace) + _provenance(trace) if text],
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
        "steps": list(word.steps),
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


def _panel(trace: Trace, panel: ImagePanel) -> dict[str, Any]:
    uri, note = _background(trace, panel)
    return {
        "name": panel.name,
        "image_index": panel.image_index,
        "size": list(panel.size),
        "boxes": [[round(edge, 2) for edge in box] for box in panel.boxes],
        "cells": list(panel.cells),
        "image": uri,
        "note": note,
    }


def _background(trace: Trace, panel: ImagePanel) -> tuple[str, str]:
    """The image's data URI, empty when there is none to draw on, and a note."""
    if panel.image_index is None:
        return "", panel.note
    image = image_of_layout(trace, panel.image_index)
    if image is None:
        return "", "the trace holds no image: image tokens only"
    if not same_aspect(image, panel.size):
        size = f"{image.width} x {image.height} pixels"
        return "", f"the stored image ({size}) differs in shape from the traced one: image tokens only"
    return data_uri(image), panel.note


def _notes(word_maps: WordMaps) -> list[str]:
    trace = word_maps.trace
    notes = []
    if not word_maps.words:
        notes.append("The answer is empty: no words to show.")
    if not word_maps.keys:
        notes.append("The trace has no image tokens: no map to show.")
    # Step by step, by sums: a mask of all rows would be as large as the trace
    if not all(bool(rows.sum().isfinite()) for rows in trace.attention):
        notes.append("Some attention values are undefined (NaN): those heads are grey and excluded from means.")
    if trace.kept_keys != "all":
        notes.append("Only the keys of image and answer were kept.")
    if not trace.top_tokens and trace.num_steps:
        notes.append("The trace file has no token texts (format 1): alternatives are token numbers.")
    return notes


def _provenance(trace: Trace) -> list[tuple[str, str]]:
    versions = trace.provenance.get("versions", {})
    settings = trace.provenance.get("generation", {})
    return [
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("generation", ", ".join(f"{name} {value}" for name, value in settings.items())),
    ]
