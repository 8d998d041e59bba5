"""Patches a kernel's output: only the (row, head) pairs whose weights changed are recomputed."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from jaxtyping import Float

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import mix_values
from lvlmscope.hooks.attention_tap import KernelOutput

__all__ = ["apply_gain", "attach_gradient", "make_output", "patch_output", "recompute_output"]


def make_output(
    run: Callable[[], KernelOutput],
    rows: AttentionRows,
    edited: AttentionRows,
    call: AttentionCall,
    *,
    attached: bool,
    recomputed: bool,
) -> KernelOutput:
    """The output of one attention call with the edits in it, with a graph where one is wanted.

    Args:
        run: Calls the kernel.
        rows: The rows as the kernel had them.
        edited: The rows after all interventions.
        attached: Keep the kernel's numbers and attach them to the rows' graph.
        recomputed: Else, compute the outputs from the rows, within their graph.

    Returns:
        Outputs ``[batch, query, head, dim]`` and the kernel's weights, if it gives them.
    """
    if attached:
        with nullcontext() if call.whole_graph else torch.no_grad():
            output, weights = patch_output(run(), rows, edited, call)
        return attach_gradient(output, edited, call), weights
    return recompute_output(run, edited, call) if recomputed else patch_output(run(), rows, edited, call)


def patch_output(output: KernelOutput, rows: AttentionRows, edited: AttentionRows, call: AttentionCall) -> KernelOutput:
    """The kernel's output with the heads of edited rows computed from their new weights.

    Args:
        output: The kernel's output ``[batch, query, head, dim]`` and weights, if it gives them.
        rows: The rows as the kernel had them.
        edited: The rows after all interventions.

    Returns:
        The same objects where no intervention made an edit.
    """
    values, weights = output
    if edited is rows:
        return output
    changed = (edited.weights != rows.weights).any(-1)
    mixed = mix_values(edited.weights.transpose(1, 2), call)
    patched = torch.where(changed.unsqueeze(-1), mixed, values[:, call.first_row :])
    values = torch.cat([values[:, : call.first_row], patched], 1) if call.first_row else patched
    if weights is not None:
        weights = weights.clone()
        weights[:, :, call.first_row :] = edited.weights.transpose(1, 2).to(weights.dtype)
    return values, weights


def recompute_output(run: Callable[[], KernelOutput], rows: AttentionRows, call: AttentionCall) -> KernelOutput:
    """Head outputs recomputed from the rows, attached to their autograd graph; earlier rows are the kernel's.

    Args:
        run: Calls the kernel.
        rows: The predicting rows, attached to the autograd graph.

    Returns:
        Outputs ``[batch, query, head, dim]`` and the kernel's weights, if it was called and gives them.
    """
    mixed = mix_values(rows.weights.transpose(1, 2), call, differentiable=torch.is_grad_enabled())
    if not call.first_row:
        return mixed, None
    with torch.no_grad():
        output, weights = run()
    return torch.cat([output[:, : call.first_row], mixed], 1), weights


def attach_gradient(
    values: Float[torch.Tensor, "batch query head value_dim"], rows: AttentionRows, call: AttentionCall
) -> Float[torch.Tensor, "batch query head value_dim"]:
    """The same head outputs, attached to the autograd graph of the rows by a term of value zero.

    The forward's numbers stay the kernel's to the last bit.

    Args:
        values: Head outputs ``[batch, query, head, dim]``; a graph of the rows before the predicting ones is kept.
        rows: The predicting rows, attached to the autograd graph.

    Returns:
        Equal outputs, those of the predicting rows differentiable.
    """
    mixed = mix_values(rows.weights.transpose(1, 2), call, differentiable=True)
    sloped = values[:, call.first_row :].detach() + (mixed - mixed.detach())
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
        if not first_row:
            values = values * gain.unsqueeze(-1).to(values.dtype)
            continue
        full = gain.new_ones(gain.shape[0], values.shape[1], gain.shape[2])
        full[:, first_row:] = gain
        if where == "all":
            full[:, :first_row] = gain[:, :1]
        values = values * full.unsqueeze(-1).to(values.dtype)
    return values
