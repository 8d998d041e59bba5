"""Head rescaling straight from methods 2.2, for one answer: loops, nothing of the library."""

import math

import torch


class Heads:
    """The gains of every predicting row, by the row's own attention or by the first row's."""

    def __init__(
        self,
        image: list[int],
        *,
        l_perc: int,
        tau_perc: float,
        g_perc: float,
        l_reas: int,
        tau_reas: float,
        g_reas: float,
        frozen: bool,
        queries: int = 1,
        layer_strength: tuple[float, ...] | None = None,
        row_strength: str | None = None,
    ) -> None:
        self.queries, self.layer_strength, self.row_strength = queries, layer_strength, row_strength
        self.rows: dict[int, list[list[float]]] = {}
        self.image, self.frozen = image, frozen
        self.l_perc, self.tau_perc, self.g_perc = l_perc, tau_perc, g_perc
        self.l_reas, self.tau_reas, self.g_reas = l_reas, tau_reas, g_reas
        self.first: dict[int, list[float]] = {}
        self.perception = self.reasoning = 0

    def gain(self, layer: int, weights: torch.Tensor) -> list[float]:
        gains = []
        self.rows.setdefault(layer, []).append([math.fsum(head[j] for j in self.image) for head in weights.tolist()])
        last = self.rows[layer][-self.queries :]
        ratios = [math.fsum(row[head] for row in last) / len(last) for head in range(len(last[0]))]
        strength = 1.0 if self.layer_strength is None else self.layer_strength[layer]
        if self.row_strength == "unseen":
            strength *= 1 - math.fsum(ratios) / len(ratios)
        for ratio in ratios:
            factor = 1.0
            if layer <= self.l_perc and ratio >= self.tau_perc:
                factor = self.g_perc
            if layer >= self.l_reas and ratio <= self.tau_reas:
                factor = self.g_reas
            self.perception += factor == self.g_perc and not self.frozen
            self.reasoning += factor == self.g_reas and not self.frozen
            gains.append(1 + strength * (factor - 1))
        if self.frozen:
            gains = self.first.setdefault(layer, gains)
            self.perception += sum(g == self.g_perc for g in gains)
            self.reasoning += sum(g == self.g_reas for g in gains)
        return gains
