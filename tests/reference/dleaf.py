"""D-LEAF straight from methods 2.1, for one predicting row: loops, float64, nothing of the library."""

import math

import torch


class Walk:
    """The walk over the layers of one row."""

    def __init__(self, image: list[int], *, gamma: float, layers: set[int], threshold: str, heads: str | int) -> None:
        self.image, self.gamma, self.layers = image, gamma, layers
        self.threshold, self.heads = threshold, heads
        self.history: list[float] = []
        self.flagged: list[int] = []

    def edit(self, layer: int, weights: torch.Tensor) -> torch.Tensor:
        if layer not in self.layers:
            return weights
        rows = weights.tolist()
        focus = [math.fsum(row[j] for j in self.image) for row in rows]
        total = math.fsum(focus)
        if total == 0:
            return weights
        entropy = 0.0
        for j in self.image:
            p = math.fsum(row[j] for row in rows) / total
            entropy -= p * math.log(p) if p > 0 else 0.0
        history, self.history = self.history, [*self.history, entropy]
        if not history:
            return weights
        level = {"min": min(history), "max": max(history), "mean": math.fsum(history) / len(history)}[self.threshold]
        if entropy <= level + 1e-4:
            return weights
        self.flagged.append(layer)
        best = focus.index(max(focus))
        mean = total / len(focus)
        ranked = sorted(range(len(focus)), key=lambda h: focus[h])
        edited = weights.clone()
        for head in range(len(focus)):
            weak = {"below_mean": focus[head] < mean, "all": True}.get(str(self.heads))
            if weak is None:
                weak = head in ranked[: int(self.heads)]
            if weak and head != best:
                edited[head] = self.gamma * weights[best] + (1 - self.gamma) * weights[head]
        return edited
