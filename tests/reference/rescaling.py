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
    ) -> None:
        self.image, self.frozen = image, frozen
        self.l_perc, self.tau_perc, self.g_perc = l_perc, tau_perc, g_perc
        self.l_reas, self.tau_reas, self.g_reas = l_reas, tau_reas, g_reas
        self.first: dict[int, list[float]] = {}
        self.perception = self.reasoning = 0

    def gain(self, layer: int, weights: torch.Tensor) -> list[float]:
        gains = []
        for head in weights.tolist():
            ratio = math.fsum(head[j] for j in self.image)
            factor = 1.0
            if layer <= self.l_perc and ratio >= self.tau_perc:
                factor = self.g_perc
            if layer >= self.l_reas and ratio <= self.tau_reas:
                factor = self.g_reas
            gains.append(factor)
        if self.frozen:
            gains = self.first.setdefault(layer, gains)
        self.perception += sum(g == self.g_perc for g in gains)
        self.reasoning += sum(g == self.g_reas for g in gains)
        return gains
