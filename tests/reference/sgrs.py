"""SGRS straight from methods 2.3: one sample, greedy proposals, one backward per candidate, float64, loops.

Attention as a free variable: a layer's row gets an added zero, and the loss is differentiated by that zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.reference import decoder

CANDIDATES, THRESHOLD_SHARE, WINDOW, ATTEMPTS = 5, 0.6, 5, 3


@dataclass
class Answer:
    tokens: list[int] = field(default_factory=list)
    candidate_scores: list[list[float]] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    rejections: int = 0
    fallbacks: int = 0


def candidate_scores(
    model: Any, embeds: torch.Tensor, layers: Sequence[int], keys: Sequence[int], suppressed: Sequence[int], k: int
) -> tuple[list[int], list[float]]:
    """The most probable tokens after the last position of `embeds`, and their scores over the named keys."""
    last, leaves, seen = embeds.shape[0] - 1, {}, {}

    def edit(layer: int, row: int, weights: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        if layer in layers and row == last:
            seen[layer] = weights.detach()
            leaves[layer] = torch.zeros_like(weights, requires_grad=True)
            weights = weights + leaves[layer]
        return weights

    log_probs = torch.log_softmax(decoder.logits(model, embeds, last, edit)[0], -1)
    allowed = [token for token in range(log_probs.shape[0]) if token not in suppressed]
    candidates = sorted(allowed, key=lambda token: -log_probs[token].item())[:k]
    found = []
    for token in candidates:
        total = 0.0
        for layer in layers:
            slope = torch.autograd.grad(-log_probs[token], leaves[layer], retain_graph=True)[0]
            heads, length = slope.shape
            row = []
            for j in range(length):
                own = [abs(seen[layer][h, j].item() * slope[h, j].item()) for h in range(heads)]
                row.append(math.fsum(own) / heads)
            norm = max(math.sqrt(math.fsum(v * v for v in row)), 1e-9)
            total += math.fsum(row[j] / norm for j in keys) / len(keys) if keys else math.nan
        found.append(total / len(layers))
    return candidates, found


def generate(
    model: Any,
    inputs: dict[str, Any],
    steps: int,
    *,
    layers: Sequence[int],
    suppressed: Sequence[int],
    k: int = CANDIDATES,
    alpha: float = THRESHOLD_SHARE,
    window: int = WINDOW,
    attempts: int = ATTEMPTS,
    after: int | None = None,
) -> Answer:
    """`after`: last image key, to count all keys behind it; None counts generated ones."""
    answer, prompt = Answer(), inputs["input_ids"][0]
    for _ in range(steps):
        ids = torch.cat([prompt, torch.tensor(answer.tokens, dtype=prompt.dtype)])
        embeds = decoder.embeddings(model, ids, inputs["pixel_values"])
        keys = range(len(prompt) if after is None else after + 1, len(ids))
        candidates, scores = candidate_scores(model, embeds, layers, keys, suppressed, k)
        answer.candidate_scores.append(scores)
        if math.isnan(scores[0]):
            answer.tokens.append(candidates[0])
            continue
        recent = answer.accepted[-window:]
        tau = alpha * sum(recent) / len(recent) if recent else 0.0
        place = None
        for attempt in range(min(attempts, len(candidates))):
            if scores[attempt] >= tau:
                place = attempt
                break
            answer.rejections += 1
        if place is None:
            answer.fallbacks += 1
            place = scores.index(max(scores))
        answer.tokens.append(candidates[place])
        answer.accepted.append(scores[place])
    return answer
