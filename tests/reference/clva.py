"""CLVA straight from methods 1.5 and 2.5, for one predicting row: loops, float64, nothing of the library."""

import math

import torch

Bands = tuple[set[int], set[int], set[int]]


class Pull:
    """The anchors of one row over one forward."""

    def __init__(self, image: list[int], *, layers: Bands, alpha: float, beta: float) -> None:
        self.image, self.alpha, self.beta = image, alpha, beta
        self.initial, self.middle, self.deep = layers
        self.noise: list[list[float]] = []
        self.anchor: list[list[float]] = []

    def distributions(self, weights: torch.Tensor) -> list[tuple[float, list[float]]]:
        """(M, p over the image) of each head."""
        found = []
        for row in weights.tolist():
            mass = math.fsum(row[j] for j in self.image)
            found.append((mass, [row[j] / mass for j in self.image]))
        return found

    def edit(self, layer: int, weights: torch.Tensor) -> torch.Tensor:
        heads = self.distributions(weights)
        ranked = sorted(heads, key=lambda pair: pair[0])
        count = max(1, len(heads) // 4)
        if layer in self.initial:
            self.noise += [p for _, p in ranked[:count]]
        if layer in self.middle:
            self.anchor += [p for _, p in ranked[-count:]]
        if layer not in self.deep:
            return weights
        negative, positive = mean(self.noise), mean(self.anchor)
        edited = weights.clone()
        for number, (mass, p) in enumerate(heads):
            terms = zip(p, positive, negative, strict=True)
            bracket = [max(0.0, a + self.alpha * b - self.beta * c) for a, b, c in terms]
            if math.fsum(bracket) == 0:
                continue
            for j, value in zip(self.image, bracket, strict=True):
                edited[number, j] = mass * value / math.fsum(bracket)
        return edited


def mean(distributions: list[list[float]]) -> list[float]:
    summed = [math.fsum(column) for column in zip(*distributions, strict=True)]
    return [value / math.fsum(summed) for value in summed]
