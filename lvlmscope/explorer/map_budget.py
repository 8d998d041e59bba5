"""Which maps a file keeps: each layer's mean of every word, and as many single heads as fit."""

from typing import Any, Final

import numpy as np

from lvlmscope.explorer.packed_numbers import packed, packed_bytes
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.traces.word_values import defined_mean

__all__ = ["kept_maps"]

_LAYER_SHARE: Final = 0.85  # of the room, at most, for the layers' means before neighbours are joined


def kept_maps(word_maps: WordMaps, *, room: int) -> dict[str, Any]:
    """Layer x head values and image maps of every word, as JSON values.

    Args:
        word_maps: The trace's maps.
        room: Bytes of text to stay within, as far as joining neighbouring layers allows.

    Returns:
        By quantity: `heat` (16 bits, row = word, column = layer * heads + head), `layers` (8 bits, row = word * bands +
        band, column = image token), `band` (layers joined in one), `heads` (8 bits, one row for each entry of `kept`)
        and `kept`, the sorted codes (word * layers + layer) * heads + head.
    """
    count, cells = len(word_maps.words), len(word_maps.keys)
    layers, heads = word_maps.trace.num_layers, word_maps.trace.num_heads
    names = word_maps.names if count and cells else ()
    share = room // max(len(names), 1)
    heat_size = packed_bytes(count, layers * heads, 16)
    band = 1
    while band < layers and heat_size + packed_bytes(count * -(-layers // band), cells, 8) > _LAYER_SHARE * share:
        band *= 2
    used = heat_size + packed_bytes(count * -(-layers // band), cells, 8)
    code_size = len(str(count * layers * heads)) + 1  # digits and a comma
    per_word = max(0, int((share - used) / max(count, 1) / (packed_bytes(3, cells, 8) / 3 + code_size)))
    return {name: _kept(word_maps, name, band, min(per_word, layers * heads)) for name in names}


def _kept(word_maps: WordMaps, name: str, band: int, per_word: int) -> dict[str, Any]:
    heat, means, single, codes = [], [], [], []
    for word in range(len(word_maps.words)):
        every = word_maps.of_word(name, word)
        layers, heads, cells = every.shape
        sums = every.sum(-1).ravel()
        heat.append(sums)
        by_layer = defined_mean(every, 1)
        means += [defined_mean(by_layer[low : low + band], 0) for low in range(0, layers, band)]
        order = np.argsort(-np.where(np.isfinite(sums), sums, 0.0), kind="stable")
        chosen = np.sort(order[:per_word])
        single.append(every.reshape(-1, cells)[chosen])
        codes += [word * layers * heads + int(index) for index in chosen]
    return {
        "heat": packed(np.stack(heat), 16),
        "layers": packed(np.stack(means), 8),
        "band": band,
        "heads": packed(np.concatenate(single), 8),
        "kept": codes,
        "per_word": per_word,
    }
