"""Checks of the weights that an intervention returns, and the rows they make."""

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.attention_rows import AttentionRows, log_weights
from lvlmscope.errors import InterventionError, describe, message
from lvlmscope.runtime.protocol import Intervention

__all__ = ["validate_edit"]


def validate_edit(
    rows: AttentionRows, weights: Float[torch.Tensor, "..."], intervention: Intervention
) -> tuple[AttentionRows, int]:
    """Rows with an intervention's weights, and how many (row, head) pairs they change.

    Args:
        rows: The rows the intervention saw ``[batch, row, head, key]``.
        weights: What it returned.
        intervention: The intervention, for the message.

    Returns:
        New rows and the count; the same rows and 0 when nothing changed.

    Raises:
        InterventionError: Another shape, values that are not finite, or weight on a key the row may not see.
    """
    doing = f"edit attention with {type(intervention).__name__}"
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
