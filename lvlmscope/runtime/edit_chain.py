"""Interventions one after another: each sees the edits of those before it, and what it changes is counted."""

from collections.abc import Sequence

import torch
from jaxtyping import Float

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.edit_validation import validate_edit, validate_gain, validate_hidden
from lvlmscope.runtime.in_place_edits import tensors_of

__all__ = ["edit_rows", "edit_stream", "head_gains"]


def edit_rows(active: Sequence[ActiveIntervention], rows: AttentionRows) -> AttentionRows:
    """Rows of one layer after all attention edits.

    Args:
        active: The interventions in order.
        rows: ``[batch, row, head, key]`` as the kernel has them.

    Returns:
        New rows; the same object where nothing changed.

    Raises:
        InterventionError: An edit that is no attention, or one in place.
    """
    for each in active:
        weights = each.call("edit_attention", rows, shown=tensors_of(rows))
        if weights is None:
            continue
        rows, count = validate_edit(rows, weights, each.name)
        if count:
            each.edited[rows.layer or 0] = each.edited.get(rows.layer or 0, 0) + count
    return rows


def head_gains(
    active: Sequence[ActiveIntervention], rows: AttentionRows
) -> list[tuple[Float[torch.Tensor, "batch row head"], str]]:
    """Gains on the head outputs of one layer.

    Args:
        active: The interventions in order.
        rows: ``[batch, row, head, key]`` after all attention edits.

    Returns:
        Each gain ``[batch, row, head]`` that changes something, with "predicting" or "all".

    Raises:
        InterventionError: A gain of another shape or that is not finite, or rows edited in place.
    """
    gains: list[tuple[torch.Tensor, str]] = []
    for each in active:
        gain = each.call("head_gain", rows, shown=tensors_of(rows))
        if gain is None:
            continue
        count = validate_gain(gain, rows, each.name)
        if count:
            each.scaled[rows.layer or 0] = each.scaled.get(rows.layer or 0, 0) + count
            gains.append((gain, each.session.gain_rows))
    return gains


def edit_stream(
    active: Sequence[ActiveIntervention], layer: int, hidden: Float[torch.Tensor, "batch query hidden"], start: int
) -> Float[torch.Tensor, "batch query hidden"]:
    """The residual stream after one layer and all edits.

    Args:
        active: The interventions in order.
        layer: Layer number; -1 is the embedding output.
        hidden: ``[batch, query, hidden]``.
        start: First predicting row.

    Returns:
        A new stream; the same object where nothing changed.

    Raises:
        InterventionError: A stream of another shape or that is not finite, or an edit in place.
    """
    rows = torch.arange(start, hidden.shape[1], device=hidden.device)
    for each in active:
        new = each.call("edit_hidden", layer, hidden, rows, shown={"hidden": hidden})
        if new is not None and validate_hidden(new, hidden, start, each.name):
            each.shifted[layer] = each.shifted.get(layer, 0) + 1
            hidden = new
    return hidden
