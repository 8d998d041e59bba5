"""Slow twin of one attention call in float64: loops over samples, heads and queries, one formula a line."""

import math

import torch


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scaling: float,
    padding: torch.Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
    bias: torch.Tensor | None = None,
    head_sinks: torch.Tensor | None = None,
    query_sinks: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs ``[batch, query, head, dim]`` and weights ``[batch, head, query, key]`` of causal attention.

    Padding is bool or int ``[batch, used key]``: the last query stands at the last used key; the keys after it are
    those of an unfilled cache. Sinks are scores ``[head]`` or ``[batch, head, query, 1]`` beside the keys.
    """
    batch, heads, queries, _ = query.shape
    keys, group = key.shape[2], heads // key.shape[1]
    used = keys if padding is None else padding.shape[1]
    weights = torch.zeros(batch, heads, queries, keys, dtype=torch.float64)
    outputs = torch.zeros(batch, queries, heads, value.shape[3], dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            for q in range(queries):
                position = used - queries + q
                scores = {}
                for k in range(used):
                    hidden = padding is not None and not padding[b, k]
                    outside = window is not None and k <= position - window
                    if k > position or hidden or outside:
                        continue
                    score = float(query[b, h, q].double() @ key[b, h // group, k].double()) * scaling
                    score += 0.0 if bias is None else float(bias[b, h, q, k])
                    scores[k] = score if softcap is None else softcap * math.tanh(score / softcap)
                total = sum(math.exp(score) for score in scores.values())
                total += 0.0 if head_sinks is None else math.exp(float(head_sinks[h]))
                total += 0.0 if query_sinks is None else math.exp(float(query_sinks[b, h, q, 0]))
                for k, score in scores.items():
                    weights[b, h, q, k] = math.exp(score) / total
                    outputs[b, q, h] += weights[b, h, q, k] * value[b, h // group, k].double()
    return outputs, weights
