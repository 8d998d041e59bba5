"""Interventions one after another: each sees the edits of those before it, and what it changes is counted."""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float, Int

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.edit_validation import edited_rows

__all__ = ["edit_rows", "edit_stream", "head_gains"]

_SHOWN: Final = {"edit_hidden": "hidden", "edit_mlp": "output"}


def edit_rows(active: Sequence[ActiveIntervention], rows: AttentionRows) -> AttentionRows:
    """Rows of one layer after all attention edits.

    Args:
        active: The interventions in order.
        rows: ``[batch, row, head, key]`` as the kernel has them.

    Returns:
        New rows; the same object where nothing was edited.

    Raises:
        InterventionError: Weights of another shape, or an edit in place; where edits are checked at once, no attention.
    """
    for each in active:
        if not each.reads(rows.layer):
            continue
        weights = each.call("edit_attention", rows, shown=rows)
        if weights is None or weights is rows.weights:
            continue
        each.record.attention(rows, weights)
        rows = edited_rows(rows, weights, all_heads=each.session.changes_all_heads)
    return rows


def head_gains(
    active: Sequence[ActiveIntervention], rows: AttentionRows
) -> list[tuple[Float[torch.Tensor, "batch row head"], str]]:
    """Gains on the head outputs of one layer.

    Args:
        active: The interventions in order.
        rows: ``[batch, row, head, key]`` after all attention edits.

    Returns:
        Each gain ``[batch, row, head]``, with "predicting" or "all".

    Raises:
        InterventionError: A gain of another shape or that is not finite, or rows edited in place.
    """
    gains: list[tuple[torch.Tensor, str]] = []
    for each in active:
        if not each.reads(rows.layer):
            continue
        gain = each.call("head_gain", rows, shown=rows)
        if gain is None:
            continue
        each.record.gain(rows, gain)
        gains.append((gain, each.session.gain_rows))
    return gains


def edit_stream(
    active: Sequence[ActiveIntervention],
    layer: int,
    hidden: Float[torch.Tensor, "batch query hidden"],
    rows: Int[torch.Tensor, "row"],
    *,
    hook: str = "edit_hidden",
) -> Float[torch.Tensor, "batch query hidden"]:
    """The residual stream after one layer and all edits, or likewise the output of its MLP.

    Args:
        active: The interventions in order.
        layer: Layer number; -1 is the embedding output.
        hidden: ``[batch, query, hidden]``.
        rows: Indices of the predicting rows.
        hook: What edits it: ``edit_hidden`` or ``edit_mlp``.

    Returns:
        A new stream; the same object where nothing was edited.

    Raises:
        InterventionError: A stream of another shape or that is not finite, or an edit in place.
    """
    start = hidden.shape[1] - rows.shape[0]
    for each in active:
        new = each.call(hook, layer, hidden, rows, shown={_SHOWN[hook]: hidden})
        if new is not None and new is not hidden:
            each.record.stream(layer, new, hidden, start, hook=hook)
            hidden = new
    return hidden
