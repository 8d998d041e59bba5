"""Attention rows of a prompt before its last one, for the interventions that edit them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import UnsupportedOptionError, message
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import mix_values
from lvlmscope.hooks.attention_tap import KernelOutput
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.active_set import overrides
from lvlmscope.runtime.edit_validation import edited_rows
from lvlmscope.runtime.protocol import ForwardInfo
from lvlmscope.runtime.row_reading import read_prompt_rows

__all__ = ["editing_prompt_rows", "refuse_chunks", "with_prompt_edits"]

_WEIGHTS: Final = 2**22  # of the rows that are held at once: 16 MiB in float32


def editing_prompt_rows(active: Sequence[ActiveIntervention], layer: int) -> list[ActiveIntervention]:
    """The interventions that edit these rows in a layer.

    Args:
        active: The interventions that are on.
        layer: Decoder layer number.
    """
    return [
        each
        for each in active
        if overrides(each.session, "edit_prompt_attention")
        and (each.session.row_layers is None or layer in each.session.row_layers)
    ]


def refuse_chunks(active: Sequence[ActiveIntervention], got: Any) -> None:
    """Refuse a prompt that is run in several forwards where its rows are edited: those of the first are not known.

    Args:
        active: The interventions that are on.
        got: What was asked for; nothing is refused where it is None or 0.

    Raises:
        UnsupportedOptionError: One of them edits the rows of a prompt.
    """
    names = [each.name for each in active if overrides(each.session, "edit_prompt_attention")]
    if names and got:
        expected, fix = "a prompt in one forward", f"leave it out, or {names[0]}"
        raise UnsupportedOptionError(message(str(got), expected, fix, task=f"edit a prompt's rows with {names[0]}"))


def with_prompt_edits(
    run: Callable[[], KernelOutput],
    call: AttentionCall,
    forward: ForwardInfo,
    layer: int,
    active: Sequence[ActiveIntervention],
) -> KernelOutput:
    """The kernel's output with the heads of edited prompt rows computed from their new weights.

    The rows are made some at a time, so that no square of the prompt's length is held.

    Args:
        run: Calls the kernel.
        call: Its arguments; rows before its first one of interest are edited.
        forward: The forward.
        layer: Decoder layer number.
        active: The interventions that edit them, in order.

    Returns:
        Outputs and the kernel's weights, if it gives them; the same objects where nothing was edited.
    """
    output, weights = run()
    batch, heads = call.query.shape[:2]
    size = max(1, _WEIGHTS // (batch * heads * call.key.shape[2]))
    parts, patched, changed = [], weights, False
    for start in range(0, call.first_row, size):
        part = replace(call, first_row=start, end_row=min(start + size, call.first_row), whole_graph=True)
        rows, kept = read_prompt_rows(part, forward, layer), output[:, start : part.end_row]
        edited = _edited(active, rows, forward, part)
        parts.append(kept if edited is rows else _patched(kept, rows, edited, part))
        changed |= edited is not rows
        if edited is not rows and weights is not None:
            patched = weights.clone() if patched is weights else patched
            assert patched is not None
            patched[:, :, start : part.end_row] = edited.weights.transpose(1, 2).to(weights.dtype)
    return (torch.cat([*parts, output[:, call.first_row :]], 1), patched) if changed else (output, weights)


def _patched(
    kept: Float[torch.Tensor, "batch row head value_dim"],
    rows: AttentionRows,
    edited: AttentionRows,
    part: AttentionCall,
) -> Float[torch.Tensor, "batch row head value_dim"]:
    changed = (edited.weights != rows.weights).any(-1)
    return torch.where(changed.unsqueeze(-1), mix_values(edited.weights.transpose(1, 2), part), kept)


def _edited(
    active: Sequence[ActiveIntervention], rows: AttentionRows, forward: ForwardInfo, part: AttentionCall
) -> AttentionRows:
    assert part.end_row is not None
    positions = forward.past_length + torch.arange(part.first_row, part.end_row, device=rows.weights.device)
    used = _used(rows, forward, positions)
    for each in active:
        weights = each.call("edit_prompt_attention", rows, positions, shown=rows)
        if weights is None or weights is rows.weights:
            continue
        if weights.shape == rows.weights.shape:  # padding sees no key, or anything: what it gets is nothing
            weights = torch.where(used[..., None, None], weights, rows.weights)
        each.record.attention(rows, weights, hook="edit_prompt_attention")
        rows = edited_rows(rows, weights, all_heads=False)
    return rows


def _used(
    rows: AttentionRows, forward: ForwardInfo, positions: Int[torch.Tensor, "row"]
) -> Bool[torch.Tensor, "batch row"]:
    """Which rows are no padding."""
    visible: torch.Tensor = rows.weights.sum(-1).gt(0).any(-1)
    mask = forward.inputs.get("attention_mask")
    if mask is None:
        return visible
    given: torch.Tensor = mask.to(positions.device)[:, positions] != 0
    used: torch.Tensor = visible & given.repeat_interleave(visible.shape[0] // given.shape[0], 0)
    return used
