"""Activations of one run of an answer patched into another run, at chosen layers, heads and positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float

from lvlmscope.causal.forward_positions import ForwardPositions
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_tap import KernelOutput

__all__ = ["ActivationPatch", "Site"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """What is patched in one sample of a batch.

    Attributes:
        layer: Decoder layer; -1 is the stream before the first.
        head: Query head, None for the residual stream.
        positions: bool `[position]`.
    """

    layer: int
    head: int | None
    positions: Bool[torch.Tensor, "position"]


class ActivationPatch:
    """Keeps the activations of the first run, then patches them into later ones."""

    def __init__(self, positions: ForwardPositions) -> None:
        """Prepare; the first run is kept.

        Args:
            positions: Says where the rows of a call stand.
        """
        self._positions = positions
        self._kept: dict[int, tuple[int, torch.Tensor]] = {}  # by layer: first position, [position, ...]
        self._batch: tuple[Site | None, ...] | None = None

    def begin(self, batch: Sequence[Site | None]) -> None:
        """Start a run that is patched.

        Args:
            batch: The site of each sample, None for a sample as it is.
        """
        self._batch = tuple(batch)
        self._positions.begin()

    def stream(
        self, layer: int, values: Float[torch.Tensor, "batch query hidden"]
    ) -> Float[torch.Tensor, "batch query hidden"] | None:
        """Keep or patch the residual stream after a layer, as `HiddenHooks` asks.

        Args:
            layer: Its number.
            values: `[batch, query, hidden]`.

        Returns:
            A new stream, None where nothing is patched.
        """
        return self._edit(layer, values)

    def heads(self, call: AttentionCall, run: Callable[[], KernelOutput]) -> KernelOutput:
        """Keep or patch the outputs of a layer's heads, before the output projection.

        Args:
            call: What the kernel gets.
            run: Calls the kernel.

        Returns:
            Its output `[batch, query, head, dim]`, patched.
        """
        output, weights = run()
        found = self._edit(int(call.module.layer_idx), output)  # type: ignore[arg-type]
        return output if found is None else found, weights

    def _edit(self, layer: int, values: torch.Tensor) -> torch.Tensor | None:
        placed = self._positions.of(layer, values.shape[1])
        if self._batch is None:
            start, before = self._kept.get(layer, (placed.start, values[0, :0]))
            self._kept[layer] = start, torch.cat([before, values[0].detach()])
            return None
        sites = [(row, site) for row, site in enumerate(self._batch) if site is not None and site.layer == layer]
        if not sites:
            return None
        start, kept = self._kept[layer]
        kept = kept[placed.start - start : placed.stop - start]
        found = values.clone()
        for row, site in sites:
            chosen = site.positions[placed.start : placed.stop].to(values.device)
            if site.head is None:
                found[row, chosen] = kept[chosen]
            else:
                found[row, chosen, site.head] = kept[chosen, site.head]
        return found
