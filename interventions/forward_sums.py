"""Sums for reports that stay on the device: small tensors of all layers are added up once a forward."""

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["ForwardSums"]


class ForwardSums:
    """Sums over forwards of what each layer gives, by name and layer; read when a report is asked for."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._waiting: dict[tuple[str, float | None], list[tuple[int, torch.Tensor]]] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        self._sums: dict[tuple[str, tuple[int, ...]], torch.Tensor] = {}

    def add(self, name: str, layer: int, values: torch.Tensor, *, above: float | None = None) -> None:
        """Note one layer's values, which are small: one a row, or one a head.

        Args:
            name: Name of the sum.
            layer: Decoder layer number.
            values: Numbers or flags of any shape.
            above: Count the values that are above it, in place of adding them; NaN is not.
        """
        self._waiting.setdefault((name, above), []).append((layer, values.detach()))

    def number(self, name: str, layer: int, value: int) -> None:
        """Add a plain number.

        Args:
            name: Name of the sum.
            layer: Decoder layer number.
            value: A number that is known without the device.
        """
        self._numbers[name, layer] = self._numbers.get((name, layer), 0) + value

    def settle(self) -> None:
        """Add up what the layers of a forward gave; called at its end."""
        for (name, above), given in self._waiting.items():
            for layers, values in _alike(given):
                self.add_layers(name, layers, values if above is None else values > above)
        self._waiting = {}

    def add_layers(self, name: str, layers: tuple[int, ...], values: torch.Tensor) -> None:
        """Add what several layers gave, at once.

        Args:
            name: Name of the sum.
            layers: Decoder layer numbers.
            values: `[layer, ...]`.
        """
        total = values.flatten(1).sum(1)
        before = self._sums.get((name, layers))
        self._sums[name, layers] = total if before is None else before + total

    def by_layer(self, name: str) -> dict[int, Any]:
        """One sum, which waits for the device.

        Args:
            name: Name of the sum.

        Returns:
            Totals by layer, ascending: int where flags or whole numbers were added.
        """
        self.settle()
        totals: dict[int, Any] = {layer: value for (own, layer), value in self._numbers.items() if own == name}
        for (own, layers), found in self._sums.items():
            for layer, value in zip(layers, found.tolist() if own == name else [], strict=own == name):
                totals[layer] = totals.get(layer, 0) + value
        return dict(sorted(totals.items()))

    def total(self, name: str) -> Any:
        """One sum over all layers.

        Args:
            name: Name of the sum.

        Returns:
            The total; 0 where nothing was added.
        """
        return sum(self.by_layer(name).values())


def _alike(given: Sequence[tuple[int, torch.Tensor]]) -> list[tuple[tuple[int, ...], torch.Tensor]]:
    """Layers whose values have one shape, type and device, stacked."""
    groups: dict[tuple[object, ...], list[tuple[int, torch.Tensor]]] = {}
    for layer, values in given:
        groups.setdefault((values.shape, values.dtype, values.device), []).append((layer, values))
    return [
        (tuple(layer for layer, _ in group), torch.stack([values for _, values in group])) for group in groups.values()
    ]
