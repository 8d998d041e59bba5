"""The cell over depth straight from methods 2.6, for one row: loops over channels, float64, nothing of the library."""

import math

import torch

Weights = dict[str, torch.Tensor]


def product(weights: Weights, name: str, x: list[float]) -> list[float]:
    """`W x` with W whole, or left @ right."""
    if f"{name}.whole" in weights:
        matrix = weights[f"{name}.whole"].double()
    else:
        matrix = weights[f"{name}.left"].double() @ weights[f"{name}.right"].double()
    return [math.fsum(w * value for w, value in zip(row, x, strict=True)) for row in matrix.tolist()]


def normalised(x: list[float]) -> list[float]:
    scale = math.sqrt(math.fsum(value * value for value in x) / len(x) + 1e-6)
    return [value / scale for value in x]


def summed(weights: Weights, name: str, new: list[float], old: list[float]) -> list[float]:
    w, u = product(weights, f"new.{name}", new), product(weights, f"old.{name}", old)
    return [a + b + c for a, b, c in zip(w, u, weights[f"bias.{name}"].tolist(), strict=True)]


def sigmoid(x: list[float]) -> list[float]:
    return [1 / (1 + math.exp(-value)) for value in x]


def weighted(gate: float) -> float:
    """A gate whose closing is weighted by its distance from undecided."""
    confidence = 2 * gate - 1 if gate > 0.5 else 1 - 2 * gate
    return 1 - confidence * (1 - gate)


def step(weights: Weights, kind: str, v: list[float], m: list[float]) -> list[float]:
    """`v'` of one row; `kind` is dual, constraint, correction, confidence (dual, weighted), gru or residual_gru."""
    if kind == "gru":
        z = sigmoid(summed(weights, "update_gate", m, v))
        r = sigmoid(summed(weights, "reset_gate", m, v))
        old = [a * b for a, b in zip(r, v, strict=True)]
        h = [math.tanh(a) for a in summed(weights, "candidate", m, old)]
        return [a * b + (1 - a) * c for a, b, c in zip(z, h, v, strict=True)]
    if kind == "residual_gru":
        z = sigmoid(summed(weights, "update_gate", normalised(m), normalised(v)))
        r = sigmoid(summed(weights, "reset_gate", normalised(m), normalised(v)))
        old = [a * b for a, b in zip(r, normalised(v), strict=True)]
        h = [a + math.tanh(b) for a, b in zip(m, summed(weights, "candidate", normalised(m), old), strict=True)]
        return [a * b + (1 - a) * c for a, b, c in zip(z, h, v, strict=True)]
    delta, s = [a - b for a, b in zip(m, v, strict=True)], v
    if kind != "correction":
        c = sigmoid(summed(weights, "constraint", normalised(delta), normalised(v)))
        c = [weighted(each) for each in c] if kind == "confidence" else c
        s = [a + b * d for a, b, d in zip(v, c, delta, strict=True)]
    if kind == "constraint":
        return s
    k = sigmoid(summed(weights, "correction", normalised(m), normalised(s)))
    k = [weighted(each) for each in k] if kind == "confidence" else k
    return [a * b + (1 - a) * d for a, b, d in zip(k, m, s, strict=True)]


class Walk:
    """One run over depth for every row: the stream as handed on is the next state."""

    def __init__(self, weights: Weights, kind: str, strength: float) -> None:
        self.weights, self.kind, self.strength = weights, kind, strength
        self.state: dict[int, list[float]] = {}

    def __call__(self, layer: int, row: int, stream: torch.Tensor) -> torch.Tensor:
        m = stream.tolist()
        if layer >= 0:
            new = step(self.weights, self.kind, self.state[row], m)
            m = [a + self.strength * (b - a) for a, b in zip(m, new, strict=True)]
        self.state[row] = m
        return torch.tensor(m, dtype=torch.float64)
