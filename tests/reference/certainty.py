"""Log-probability, entropy and margin of a token, as the docstring of `confidence` says: plain loops, in float64."""

import math


def confidence(logits: list[float], token: int) -> tuple[float, float, float]:
    """ln p(token), -sum p ln p, and the gap between the two highest ln p, in nats."""
    highest = max(logits)
    total = 0.0
    for value in logits:
        total += math.exp(value - highest)
    logs = [value - highest - math.log(total) for value in logits]
    entropy = 0.0
    for log in logs:
        entropy -= math.exp(log) * log
    first, second = sorted(logs, reverse=True)[:2]
    return logs[token], entropy, first - second
