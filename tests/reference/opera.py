"""OPERA's penalty (arXiv 2311.17911 section 3.2, the released code): float64, plain loops, nothing of the library."""

import math


def strongest(row: list[list[float]]) -> list[float]:
    """One row's attention [head][key]: the largest over heads, made to sum to 1."""
    most = [max(head[key] for head in row) for key in range(len(row[0]))]
    return [each / sum(most) for each in most]


def penalty(
    rows: list[list[list[float]]],
    image: list[bool],
    *,
    scale: float,
    factor: float,
    window: int,
    image_steps: int,
    limit: float,
) -> float:
    """Of a candidate, whose row is the last of the answer's [token][head][key]."""
    tokens = len(rows)
    shares = [strongest(row) for row in rows]
    if tokens <= image_steps:
        return -sum(share for share, seen in zip(shares[-1], image, strict=False) if seen)
    first = max(tokens - window, 0)
    largest = 0.0
    for column in range(first, tokens):
        product = 1.0
        for row in range(column, tokens):
            product *= scale * shares[row][len(image) + column]
        largest = max(largest, product)
    return min(factor * largest, limit)


def penalised(logits: list[float], penalties: dict[int, float], alpha: float) -> list[float]:
    """Logits of the candidates; all other tokens are excluded."""
    return [logit - alpha * penalties[token] if token in penalties else -math.inf for token, logit in enumerate(logits)]
