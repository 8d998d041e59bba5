"""The logit lens in float64, by loops: no library beside torch, transformers' own hidden states."""

import math

import torch


def token_row(state: torch.Tensor, norm_weight: torch.Tensor, eps: float, matrix: torch.Tensor) -> list[float]:
    """Log-probability of every token of the vocabulary; RMS norm, then the output matrix."""
    x = [float(v) for v in state]
    size = math.sqrt(math.fsum(v * v for v in x) / len(x) + eps)
    normed = [v / size * float(w) for v, w in zip(x, norm_weight, strict=True)]
    logits = [math.fsum(a * float(b) for a, b in zip(normed, row, strict=True)) for row in matrix]
    top = max(logits)
    total = top + math.log(math.fsum(math.exp(z - top) for z in logits))
    return [z - total for z in logits]


def rank(row: list[float], token: int) -> int:
    return sum(1 for z in row if z > row[token])


def commitment(ranks: list[int]) -> float:
    """Index of the first layer from which on every rank is 0."""
    found = math.nan
    for layer in reversed(range(len(ranks))):
        if ranks[layer] != 0:
            break
        found = layer
    return found
