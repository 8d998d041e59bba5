"""Attention cut between keys and query rows in replays of an answer; each sample of a batch has its own cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int

from lvlmscope.causal.forward_positions import ForwardPositions
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import mix_values, row_scores, softmax_rows, visibility
from lvlmscope.hooks.attention_options import require_readable
from lvlmscope.hooks.attention_tap import KernelOutput

__all__ = ["AttentionCut", "Cut"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """What one sample of the batch loses.

    Attributes:
        layers: Decoder layers in which attention is cut; none for the model as it is.
        rows: Which query positions lose it, bool `[position]`.
    """

    layers: frozenset[int]
    rows: Bool[torch.Tensor, "position"]


class AttentionCut:
    """Handles attention calls: scores of cut keys become -inf before the softmax, in the cut layers and rows alone.

    A row always keeps its own key. In the layers that any cut names, the rows that any cut names are computed from
    their scores in every sample, cut or not, so that two samples differ by their cuts and not by a kernel's rounding;
    every other row is the kernel's.
    """

    def __init__(self, keys: Bool[torch.Tensor, "position"], cuts: Sequence[Cut], positions: ForwardPositions) -> None:
        """Prepare.

        Args:
            keys: Which key positions are cut.
            cuts: All cuts that are asked for, also those of other batches.
            positions: Says where the rows of a call stand.
        """
        self._keys = keys
        self._layers = frozenset[int]().union(*(cut.layers for cut in cuts))
        self._rows = torch.stack([cut.rows for cut in cuts]).any(0)
        self._batch: tuple[Cut, ...] = ()
        self._positions = positions

    def begin(self, batch: Sequence[Cut]) -> None:
        """Start a run of the answer.

        Args:
            batch: The cut of each sample.
        """
        self._batch = tuple(batch)
        self._positions.begin()

    def __call__(self, call: AttentionCall, run: Callable[[], KernelOutput]) -> KernelOutput:
        """One call's output.

        Args:
            call: What the kernel gets.
            run: Calls the kernel.

        Returns:
            Its output with the rows of interest computed anew.
        """
        layer = int(call.module.layer_idx)  # type: ignore[arg-type]
        placed, device = self._positions.of(layer, call.query.shape[2]), call.query.device
        output, weights = run()
        if layer not in self._layers:
            return output, weights
        chosen = self._rows[placed.start : placed.stop]
        if not bool(chosen.any()):
            return output, weights
        first = int(chosen.nonzero()[0])
        queries = torch.arange(placed.start + first, placed.stop, device=device)
        # A windowed cache holds the last keys only
        keys = torch.arange(placed.stop - call.key.shape[2], placed.stop, device=device)
        rows = replace(call, first_row=first)
        require_readable(rows)
        visible, bias = visibility(rows)
        scores = row_scores(rows) if bias is None else row_scores(rows) + bias
        scores = scores.masked_fill(~visible | self._cut(layer, queries, keys), float("-inf"))
        mixed = mix_values(softmax_rows(scores, rows), rows)
        found = torch.where(chosen[first:, None, None].to(device), mixed, output[:, first:])
        return torch.cat([output[:, :first], found], 1), weights

    def _cut(
        self, layer: int, queries: Int[torch.Tensor, "row"], keys: Int[torch.Tensor, "key"]
    ) -> Bool[torch.Tensor, "batch 1 row key"]:
        """Which keys each row of each sample loses in a layer."""
        rows = torch.stack([cut.rows if layer in cut.layers else torch.zeros_like(cut.rows) for cut in self._batch])
        rows = rows.to(queries.device)[:, queries]
        lost = rows[:, :, None] & self._keys.to(keys.device)[keys] & (keys != queries[:, None])
        return lost[:, None]
