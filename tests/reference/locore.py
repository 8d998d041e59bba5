"""LocoRE straight from methods 2.4, for one predicting row: loops, float64, nothing of the library."""

import math

import torch


def window(row: int, first: int, *, length: int, own_key: bool) -> list[int]:
    """Positions `j` from `first` with `P - j <= length` and `j < P` (eq. 8), or `j <= P` counted from `P` on."""
    if own_key:
        return [j for j in range(first, row + 1) if row - j < length]
    return [j for j in range(first, row) if row - j <= length]


def edit(weights: torch.Tensor, scores: torch.Tensor, window: list[int], *, beta: float, mode: str) -> torch.Tensor:
    """`weights` and `scores` are [head, key]; `window` names the keys of the last generated tokens."""
    edited = weights.clone()
    for head in range(weights.shape[0]):
        row, raw = weights[head].tolist(), scores[head].tolist()
        if mode == "logit":
            raised = [s * (1 + beta) if j in window else s for j, s in enumerate(raw)]
            top = max(raised)
            row = [math.exp(s - top) for s in raised]
        else:
            row = [a * (1 + beta) if j in window else a for j, a in enumerate(row)]
        if mode != "raw":
            total = math.fsum(row)
            row = [a / total for a in row]
        edited[head] = torch.tensor(row, dtype=torch.float64)
    return edited
