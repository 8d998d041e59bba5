"""Attention sinks and rows without them, as their docstrings say: plain loops, nothing of the library."""

import math

from tests.reference.attention_signals import Rows


def strength(rows: Rows, prompt_length: int) -> list[list[float]]:
    """[layer][key]: mean attention over the steps whose window holds the key, as a multiple of the uniform share."""
    result = []
    for layer in range(len(rows[0])):
        result.append([])
        for j in range(len(rows[0][0][0])):
            values = []
            for t, step in enumerate(rows):
                heads = step[layer]
                first = min(key for row in heads for key, weight in enumerate(row) if weight)
                if first <= j < prompt_length + t:
                    values += [row[j] * (prompt_length + t - first) for row in heads]
            result[-1].append(math.fsum(values) / len(values) if values else math.nan)
    return result


def without(rows: Rows, dropped: list[set[int]]) -> Rows:
    """Rows renormalised over the keys left in each layer."""
    result: Rows = []
    for step in rows:
        result.append([])
        for layer, heads in enumerate(step):
            left = []
            for row in heads:
                kept = [0.0 if j in dropped[layer] else a for j, a in enumerate(row)]
                left.append([a / math.fsum(kept) for a in kept])
            result[-1].append(left)
    return result
