"""CLVA straight from methods 2.5, for one predicting row: loops, float64, nothing of the library."""

import math

import torch


class Anchors:
    """The anchors of one row, gathered while it goes through the layers."""

    def __init__(
        self,
        image: list[int],
        bands: tuple[set[int], set[int], set[int]],
        *,
        alpha: float,
        beta: float,
        update: str,
        heads: str,
        fraction: float,
    ) -> None:
        self.image, self.alpha, self.beta = image, alpha, beta
        self.initial, self.middle, self.deep = bands
        self.update, self.heads, self.fraction = update, heads, fraction
        self.noise: list[list[float]] = []
        self.visual: list[list[float]] = []

    def edit(self, layer: int, weights: torch.Tensor) -> torch.Tensor:
        rows = weights.tolist()
        masses = [math.fsum(row[j] for j in self.image) for row in rows]
        ranked = sorted(range(len(rows)), key=lambda h: masses[h])
        count = max(1, int(len(rows) * self.fraction))
        if max(masses) == 0:  # the image is outside the layer's window
            return weights
        shares = [[row[j] / mass for j in self.image] for row, mass in zip(rows, masses, strict=True)]
        if layer in self.initial:
            self.noise += [shares[h] for h in ranked[:count]]
        if layer in self.middle:
            self.visual += [shares[h] for h in ranked[-count:]]
        if layer not in self.deep:
            return weights
        anchors = [
            [math.fsum(p[n] for p in shares) / len(shares) for n in range(len(self.image))]
            for shares in (self.visual, self.noise)
        ]
        if self.update == "logit":
            anchors = [[value / max(anchor) for value in anchor] for anchor in anchors]
        pull = [self.alpha * pos - self.beta * neg for pos, neg in zip(*anchors, strict=True)]
        edited = weights.clone()
        for head in range(len(rows)):
            if self.heads == "sensitive" and head not in ranked[-count:]:
                continue
            row = list(rows[head])
            if self.update == "redistribute":
                bracket = [max(p + more, 0.0) for p, more in zip(shares[head], pull, strict=True)]
                total = math.fsum(bracket)
                if total == 0:
                    continue
                for j, value in zip(self.image, bracket, strict=True):
                    row[j] = masses[head] * value / total
            else:
                for j, more in zip(self.image, pull, strict=True):
                    row[j] = row[j] * math.exp(more) if self.update == "logit" else max(row[j] + more, 0.0)
                total = math.fsum(row)
                row = [a / total for a in row]
            edited[head] = torch.tensor(row, dtype=torch.float64)
        return edited
