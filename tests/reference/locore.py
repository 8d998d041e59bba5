"""LocoRE straight from methods 2.4, for one predicting row: loops, float64, nothing of the library."""

import math

import torch


def edit(weights: torch.Tensor, prompt_length: int, *, beta: float, window: int, mode: str) -> torch.Tensor:
    """`weights` [head, key] of the row at the last key; generated tokens begin at `prompt_length`."""
    total = weights.shape[1]
    chosen = [j for j in range(total) if j >= prompt_length and j >= total - window]
    edited = weights.clone()
    for head in range(weights.shape[0]):
        for j in chosen:
            edited[head, j] = weights[head, j] * (1 + beta)
        if mode == "renorm":
            edited[head] = edited[head] / math.fsum(edited[head].tolist())
    return edited


def edit_scores(scores: torch.Tensor, prompt_length: int, *, beta: float, window: int) -> torch.Tensor:
    """Softmax of the row's scores [head, key] with those of the window multiplied."""
    total = scores.shape[1]
    raised = scores.clone()
    for j in range(max(prompt_length, total - window), total):
        raised[:, j] = scores[:, j] * (1 + beta)
    exponentials = torch.exp(raised - raised.max(-1, keepdim=True).values)
    return exponentials / exponentials.sum(-1, keepdim=True)
