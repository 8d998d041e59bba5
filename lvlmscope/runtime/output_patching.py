"""Edited rows put into a kernel's output: only the (row, head) pairs that changed are replaced."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.attention_rows import AttentionRows, log_weights
from lvlmscope.errors import InterventionError, describe, message
from lvlmscope.hooks.attention_math import AttentionCall, mix_values
from lvlmscope.hooks.attention_tap import KernelOutput
from lvlmscope.runtime.protocol import Intervention

__all__ = ["apply_gain", "attach_gradient", "patch_output", "recompute_output", "validate_edit"]


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


def patch_output(output: KernelOutput, rows: AttentionRows, edited: AttentionRows, call: AttentionCall) -> KernelOutput:
    """The kernel's output with the heads of edited rows computed from their new weights.

    Args:
        output: The kernel's output ``[batch, query, head, dim]`` and weights, if it gives them.
        rows: The rows as the kernel had them.
        edited: The rows after all interventions.
        call: The attention call.

    Returns:
        The same objects where nothing changed.
    """
    values, weights = output
    if edited is rows:
        return output
    changed = (edited.weights != rows.weights).any(-1)
    mixed = mix_values(edited.weights.transpose(1, 2), call)
    values = values.clone()
    values[:, call.first_row :] = torch.where(changed.unsqueeze(-1), mixed, values[:, call.first_row :])
    if weights is not None:
        weights = weights.clone()
        weights[:, :, call.first_row :] = edited.weights.transpose(1, 2).to(weights.dtype)
    return values, weights


def recompute_output(run: Callable[[], KernelOutput], rows: AttentionRows, call: AttentionCall) -> KernelOutput:
    """Head outputs computed from the rows, in a graph with them; the kernel makes those before the predicting rows.

    Args:
        run: Calls the kernel.
        rows: The predicting rows in the graph.
        call: The attention call.

    Returns:
        Outputs ``[batch, query, head, dim]`` and the kernel's weights, if it was called and gives them.
    """
    mixed = mix_values(rows.weights.transpose(1, 2), call, differentiable=True)
    if not call.first_row:
        return mixed, None
    with torch.no_grad():
        output, weights = run()
    return torch.cat([output[:, : call.first_row], mixed], 1), weights


def attach_gradient(
    values: Float[torch.Tensor, "batch query head value_dim"], rows: AttentionRows, call: AttentionCall
) -> Float[torch.Tensor, "batch query head value_dim"]:
    """The same head outputs, in a graph with the rows: a term of value zero carries the gradient.

    So the forward's numbers stay those of the kernel to the last bit.

    Args:
        values: Head outputs ``[batch, query, head, dim]`` without a graph.
        rows: The predicting rows in the graph.
        call: The attention call.

    Returns:
        Equal outputs, those of the predicting rows differentiable.
    """
    mixed = mix_values(rows.weights.transpose(1, 2), call, differentiable=True)
    sloped = values[:, call.first_row :] + (mixed - mixed.detach())
    return torch.cat([values[:, : call.first_row], sloped], 1) if call.first_row else sloped


def apply_gain(
    values: Float[torch.Tensor, "batch query head value_dim"],
    gains: list[tuple[Float[torch.Tensor, "batch row head"], str]],
    first_row: int,
) -> Float[torch.Tensor, "batch query head value_dim"]:
    """Head outputs times gains.

    Args:
        values: Head outputs ``[batch, query, head, dim]``.
        gains: Gain ``[batch, row, head]`` of the predicting rows, each with "predicting" or "all"; with "all" the rows
            before the first predicting one get that one's gain.
        first_row: First predicting row.

    Returns:
        Scaled outputs; the same tensor without gains.
    """
    for gain, where in gains:
        full = gain.new_ones(gain.shape[0], values.shape[1], gain.shape[2])
        full[:, first_row:] = gain
        if where == "all":
            full[:, :first_row] = gain[:, :1]
        values = values * full.unsqueeze(-1).to(values.dtype)
    return values
