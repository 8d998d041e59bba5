"""Attention sinks and rows without them, as their docstrings say: plain loops, nothing of the library."""

import math

from tests.reference.attention_signals import Rows


def strength(rows: Rows, prompt_length: int) -> list[list[float]]:
    """[layer][key]: mean attention over steps and heads as a multiple of the uniform share."""
    result = []
    for layer in range(len(rows[0])):
        result.append([])
        for j in range(len(rows[0][0][0])):
            values = [
                rows[t][layer][h][j] * (prompt_length + t) for t in range(len(rows)) for h in range(len(rows[0][0]))
            ]
            result[-1].append(math.fsum(values) / len(values))
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
