"""Checks of the weights that an intervention returns, and the rows they make."""

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.attention_rows import AttentionRows, log_weights
from lvlmscope.errors import InterventionError, describe, message

__all__ = ["validate_edit", "validate_gain", "validate_hidden"]


def validate_edit(rows: AttentionRows, weights: Float[torch.Tensor, "..."], name: str) -> tuple[AttentionRows, int]:
    """Rows with an intervention's weights, and how many (row, head) pairs they change.

    Args:
        rows: The rows the intervention saw ``[batch, row, head, key]``.
        weights: What it returned.
        name: The intervention's name.

    Returns:
        New rows and the count; the same rows and 0 when nothing changed.

    Raises:
        InterventionError: Another shape, values that are not finite, or weight on a key the row may not see.
    """
    doing = f"edit attention with {name}"
    if weights.shape != rows.weights.shape:
        got = describe({"weights": weights, "rows": rows.weights})
        raise InterventionError(message(got, "weights of the rows' shape", "check edit_attention", task=doing))
    changed = (weights != rows.weights).any(-1, keepdim=True)
    count = int(changed.sum())
    if not count:
        return rows, 0
    if not torch.isfinite(weights).all():
        raise InterventionError(message("NaN or infinity", "finite weights", "check edit_attention", task=doing))
    if rows.visible_keys is not None and (weights.where(~rows.visible_keys.unsqueeze(-2), 0.0) != 0).any():
        expected = "0 on padding and on later keys"
        raise InterventionError(message("weight on a masked key", expected, "check edit_attention", task=doing))
    return rows.replace(weights=weights, scores=lambda: _edited_scores(rows, weights, changed)), count


def validate_gain(gain: Float[torch.Tensor, "..."], rows: AttentionRows, name: str) -> int:
    """How many (row, head) pairs a gain scales.

    Args:
        gain: What ``head_gain`` returned.
        rows: The rows it saw ``[batch, row, head, key]``.
        name: The intervention's name.

    Returns:
        The count of gains other than 1.

    Raises:
        InterventionError: Another shape, or values that are not finite.
    """
    doing = f"scale heads with {name}"
    if gain.shape != rows.weights.shape[:-1]:
        got = describe({"gain": gain, "rows": rows.weights})
        raise InterventionError(message(got, "one gain per row and head", "check head_gain", task=doing))
    if not torch.isfinite(gain).all():
        raise InterventionError(message("NaN or infinity", "finite gains", "check head_gain", task=doing))
    return int((gain != 1).sum())


def validate_hidden(
    new: Float[torch.Tensor, "..."], hidden: Float[torch.Tensor, "batch query hidden"], start: int, name: str
) -> bool:
    """Whether an intervention's residual stream differs from what it saw.

    Args:
        new: What ``edit_hidden`` returned.
        hidden: What it saw.
        start: First predicting row; padding before it may be anything.
        name: The intervention's name.

    Returns:
        Whether it differs.

    Raises:
        InterventionError: Another shape, or a predicting row that is no longer finite.
    """
    if new is hidden:
        return False
    doing = f"edit the residual stream with {name}"
    if new.shape != hidden.shape:
        got = describe({"new": new, "hidden": hidden})
        raise InterventionError(message(got, "a stream of the same shape", "check edit_hidden", task=doing))
    if torch.equal(new, hidden):
        return False
    spoiled = ~torch.isfinite(new[:, start:]) & torch.isfinite(hidden[:, start:])
    if spoiled.any():
        raise InterventionError(message("NaN or infinity", "finite values", "check edit_hidden", task=doing))
    return True


def _edited_scores(
    rows: AttentionRows,
    weights: Float[torch.Tensor, "batch row head key"],
    changed: Bool[torch.Tensor, "batch row head 1"],
) -> Float[torch.Tensor, "batch row head key"]:
    """Scores whose softmax is the edited weights, so that interventions on scores stack on edited rows.

    Rows that did not change keep their own, so that a row is worth the same alone and in a block; the others are on
    the same scale, because an intervention may multiply scores.
    """
    scale = torch.logsumexp(rows.scores, -1, keepdim=True)
    return torch.where(changed, log_weights(weights) + scale, rows.scores)
