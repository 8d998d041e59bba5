"""Which maps a file keeps: each layer's mean of every word, and as many single heads as fit."""

from typing import Any, Final

import numpy as np

from lvlmscope.explorer.packed_numbers import packed, packed_bytes
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.traces.word_values import defined_mean

__all__ = ["kept_maps"]

_LAYER_SHARE: Final = 0.85  # of the room, at most, for the layers' means before neighbours are joined
_ANSWER_SHARE: Final = 0.08  # likewise, for what words have on words


def kept_maps(word_maps: WordMaps, *, room: int) -> dict[str, Any]:
    """Layer x head values and image maps of every word, as JSON values; one word at a time is held.

    Args:
        word_maps: The trace's maps.
        room: Bytes of text to stay within, as far as joining neighbouring layers allows.

    Returns:
        By quantity: `heat` (16 bits, row = word, column = layer * heads + head), `layers` (8 bits, row = word * bands +
        band, column = image token), `band` (layers joined in one), `heads` (8 bits, one row for each entry of `kept`),
        `kept`, the sorted codes (word * layers + layer) * heads + head, and `answer` (8 bits, row = word * bands +
        band, column = word) with its own `band`.
    """
    count, cells = len(word_maps.words), len(word_maps.keys)
    layers, heads = word_maps.trace.num_layers, word_maps.trace.num_heads
    names = word_maps.names if count and cells else ()
    share = room // max(len(names), 1)
    answer = _band(count, count, layers, _ANSWER_SHARE * share)
    used = packed_bytes(count, layers * heads, 16) + packed_bytes(count * -(-layers // answer), count, 8)
    band = _band(count, cells, layers, _LAYER_SHARE * share - used)
    used += packed_bytes(count * -(-layers // band), cells, 8)
    code_size = len(str(count * layers * heads)) + 1  # digits and a comma
    per_word = max(0, int((share - used) / max(count, 1) / (packed_bytes(3, cells, 8) / 3 + code_size)))
    return {name: _kept(word_maps, name, band, answer, min(per_word, layers * heads)) for name in names}


def _band(count: int, columns: int, layers: int, room: float) -> int:
    """How many neighbouring layers are joined so that a row for each of the others fits."""
    band = 1
    while band < layers and packed_bytes(count * -(-layers // band), columns, 8) > room:
        band *= 2
    return band


def _kept(word_maps: WordMaps, name: str, band: int, answer_band: int, per_word: int) -> dict[str, Any]:
    trace, count, cells = word_maps.trace, len(word_maps.words), len(word_maps.keys)
    layers, heads = trace.num_layers, trace.num_heads
    # Made at once: small arrays that stay between large ones that go would keep the memory of both
    heat = np.empty((count, layers * heads), np.float32)
    means = np.empty((count, -(-layers // band), cells), np.float32)
    answer = np.empty((count, -(-layers // answer_band), count), np.float32)
    single = np.empty((count, per_word, cells), np.float32)
    codes: list[int] = []
    for word in range(count):
        every = word_maps.of_word(name, word)
        heat[word] = every.sum(-1).ravel()
        means[word] = _joined(_over_heads(every, heat[word]), band)
        answer[word] = _joined(word_maps.answer_by_layer(name, word), answer_band)
        order = np.argsort(-np.where(np.isfinite(heat[word]), heat[word], 0.0), kind="stable")
        chosen = np.sort(order[:per_word])
        single[word] = every.reshape(-1, cells)[chosen]
        codes += [word * layers * heads + int(index) for index in chosen]
    return {
        "heat": packed(heat, 16),
        "layers": packed(means.reshape(-1, cells), 8),
        "band": band,
        "heads": packed(single.reshape(-1, cells), 8),
        "kept": codes,
        "per_word": per_word,
        "answer": packed(answer.reshape(-1, count), 8) | {"band": answer_band},
    }


def _over_heads(every: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The mean over the defined heads ``[layer, cell]``; where all are defined without a search for the others."""
    mean: np.ndarray = every.mean(1, dtype=np.float64) if np.isfinite(sums).all() else defined_mean(every, 1)
    return mean


def _joined(by_layer: np.ndarray, band: int) -> np.ndarray:
    """Neighbouring layers as their mean, float32 ``[band, column]``."""
    if band == 1:
        return by_layer.astype(np.float32)
    starts = range(0, len(by_layer), band)
    return np.stack([defined_mean(by_layer[low : low + band], 0) for low in starts]).astype(np.float32)
