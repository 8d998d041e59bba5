"""Saliency and its token scores straight from methods 1.4: float64, plain loops, nothing of the library."""

import math

from tests.reference.attention_signals import Rows


def rows(weights: Rows, gradient: Rows, *, normalise: bool, dropped: frozenset[int] = frozenset()) -> list:
    """[layer][step][key], the mean over heads"""
    result = []
    for layer in range(len(weights[0])):
        result.append([])
        for t in range(len(weights)):
            heads = range(len(weights[0][0]))
            row = []
            for j in range(len(weights[0][0][0])):
                total = math.fsum(abs(weights[t][layer][h][j] * gradient[t][layer][h][j]) for h in heads)
                row.append(0.0 if j in dropped else total / len(heads))
            norm = max(math.sqrt(math.fsum(v * v for v in row)), 1e-9) if normalise else 1.0
            result[-1].append([v / norm for v in row])
    return result


def each_head(weights: Rows, gradient: Rows) -> list:
    """[layer][head][step][key]"""
    layers, heads = len(weights[0]), len(weights[0][0])
    result = []
    for layer in range(layers):
        result.append([])
        for h in range(heads):
            own = [[[step[layer][h]]] for step in weights]
            slope = [[[step[layer][h]]] for step in gradient]
            result[-1].append(rows(own, slope, normalise=True)[0])
    return result


def to_previous(found: list, prompt_length: int) -> list[list[float]]:
    """[layer][step]"""
    return [[math.nan if t == 0 else row[prompt_length + t - 1] for t, row in enumerate(layer)] for layer in found]


def to_answer(found: list, prompt_length: int) -> list[list[float]]:
    """[layer][step]"""
    return [
        [math.nan if t == 0 else math.fsum(row[prompt_length : prompt_length + t]) / t for t, row in enumerate(layer)]
        for layer in found
    ]


def to_image(found: list, image: list[bool]) -> list[list[float]]:
    """[layer][step]"""
    return [
        [math.fsum(v for v, is_image in zip(row, image, strict=True) if is_image) for row in layer] for layer in found
    ]
