"""Steering and AD-HH for one row: plain loops, float64, nothing of the library."""

import math


def steered(state: list[float], direction: list[float], strength: float) -> list[float]:
    """After arXiv 2502.03628: a step against a direction, at the state's own length."""
    length = math.sqrt(sum(each**2 for each in state))
    moved = [each - strength * length * step for each, step in zip(state, direction, strict=True)]
    new = math.sqrt(sum(each**2 for each in moved))
    return [each * length / new for each in moved]


def deactivated(weights: list[float], text: list[bool], threshold: float) -> list[float]:
    """Attention on the text removed where it is above a threshold, the rest brought back to the sum of before."""
    on_text = sum(weight for weight, is_text in zip(weights, text, strict=True) if is_text)
    total = sum(weights)
    if on_text <= threshold or on_text == total:
        return weights
    return [
        0.0 if is_text else weight * total / (total - on_text) for weight, is_text in zip(weights, text, strict=True)
    ]
