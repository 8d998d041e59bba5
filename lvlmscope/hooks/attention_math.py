"""Scores, visibility and softmax of chosen query rows, read from what a transformers attention call receives."""

from typing import Final

import torch
from jaxtyping import Bool, Float, Int

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.errors import UnsupportedOptionError, message
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_options import sink_scores

__all__ = ["hides_nothing", "mix_values", "own_key_columns", "row_scores", "softmax_rows", "visibility"]

_HALF: Final = (torch.bfloat16, torch.float16)


def own_key_columns(call: AttentionCall) -> Int[torch.Tensor, "row"]:
    """The key column that each row of interest wrote itself, ``[row]``.

    Args:
        call: The attention call; its newest keys are the last ones.

    Returns:
        int64 ``[row]``.
    """
    keys, queries = call.key.shape[2], call.query.shape[2]
    return torch.arange(keys - queries + call.first_row, keys, device=call.query.device)


def _grouped(
    rows: Float[torch.Tensor, "batch head row dim"], key_heads: int
) -> Float[torch.Tensor, "batch kv_head grouped_row dim"]:
    """``[batch, head, row, dim]`` as ``[batch, key head, group * row, dim]``: no key is ever repeated in memory."""
    batch, heads, count, dim = rows.shape
    return rows.reshape(batch, key_heads, heads // key_heads * count, dim)


def row_scores(call: AttentionCall, *, differentiable: bool = False) -> Float[torch.Tensor, "batch head row key"]:
    """Scaled scores of the rows of interest before mask and softmax, float32 ``[batch, head, row, key]``.

    The product is taken in the model's dtype, so that no cache is copied: as in the kernels it is summed in float32. An
    accelerator gives it in float32, as its fused kernels do; elsewhere it is rounded to the model's dtype, as the
    scores of eager attention are.

    Args:
        differentiable: Detach the keys of other positions and keep each row's own key in the graph, so that one
            backward of a sum of per-row losses gives each row its own gradient.

    Returns:
        Scores.
    """
    differentiable = differentiable and not call.whole_graph
    query = call.query[:, :, call.rows]
    key = call.key.detach() if differentiable else call.key
    scaling = call.options.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    batch, heads, rows, _ = query.shape
    scores = _scaled_product(_grouped(query, key.shape[1]), key, scaling).reshape(batch, heads, rows, key.shape[2])
    if differentiable and not call.crosses:
        own = at_least_float32(_own(call.key, call))
        own = own if own.shape[1] == heads else own.repeat_interleave(heads // own.shape[1], 1)
        zero = (at_least_float32(query.detach()) * (own - own.detach())).sum(-1) * scaling
        scores = scores + _on_own_columns(zero, call)
    if call.options.get("position_bias") is not None:
        scores = scores + call.options["position_bias"][:, :, call.rows]
    softcap = call.options.get("softcap")
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def _own(
    states: Float[torch.Tensor, "batch kv_head key dim"], call: AttentionCall
) -> Float[torch.Tensor, "batch kv_head row dim"]:
    """What the rows of interest wrote themselves: the last keys or values."""
    return states[:, :, states.shape[2] - call.num_rows :]


def _scaled_product(
    query: Float[torch.Tensor, "batch kv_head grouped_row dim"],
    key: Float[torch.Tensor, "batch kv_head key dim"],
    scaling: float | Float[torch.Tensor, ""],
) -> Float[torch.Tensor, "batch kv_head grouped_row key"]:
    """``scaling q k^T`` in float32, of half precision without a copy; in one kernel where the factor is a number."""
    batch, heads, rows, _ = query.shape
    left, right = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
    if _widens(left, right):
        product = torch.bmm(left, right, out_dtype=torch.float32) * scaling
    elif isinstance(scaling, torch.Tensor):
        product = at_least_float32(torch.bmm(left, right)) * scaling
    else:
        unused = left.detach()[:1, :1, :1]  # an addend that beta=0 leaves out
        product = at_least_float32(torch.baddbmm(unused, left, right, beta=0, alpha=scaling))
    return product.view(batch, heads, rows, -1)


def _widens(left: Float[torch.Tensor, "*shape"], right: Float[torch.Tensor, "*other"]) -> bool:
    """Whether the device gives float32 products of half precision: CUDA's since torch 2.8, which have no backward."""
    graph = torch.is_grad_enabled() and (left.requires_grad or right.requires_grad)
    return left.is_cuda and left.dtype in _HALF and not graph and hasattr(torch.ops.aten.bmm, "dtype")


def _on_own_columns(
    values: Float[torch.Tensor, "batch head row"], call: AttentionCall
) -> Float[torch.Tensor, "batch head row key"]:
    """``[batch, head, row]`` spread over ``[batch, head, row, key]``, each row's value on its own key, 0 elsewhere."""
    if call.num_rows == 1:
        return torch.nn.functional.pad(values.unsqueeze(-1), (call.key.shape[2] - 1, 0))
    spread = values.new_zeros(*values.shape, call.key.shape[2])
    columns = own_key_columns(call).view(1, 1, -1, 1).expand(*values.shape, 1)
    return spread.scatter(-1, columns, values.unsqueeze(-1))


def visibility(
    call: AttentionCall,
) -> tuple[Bool[torch.Tensor, "#batch #head row key"], Float[torch.Tensor, "#batch #head row key"] | None]:
    """Which keys the rows of interest may see, and what a float mask adds to their scores.

    Returns:
        bool, and float32 or None, both broadcastable to ``[batch, head, row, key]``.

    Raises:
        UnsupportedOptionError: The mask is of a kind that hides its content (flex attention's BlockMask).
    """
    keys = call.key.shape[2]
    if call.mask is None:
        return _implied_visibility(call, keys), None
    if isinstance(call.mask, torch.Tensor) and call.mask.dim() == 2:
        mask = call.mask[:, -keys:].bool()
        used = mask.shape[1]  # a static cache has unused keys beyond the mask
        visible = _implied_visibility(call, used) & torch.nn.functional.pad(mask, (0, keys - used))[:, None, None]
        return visible, None
    if not isinstance(call.mask, torch.Tensor):
        got = f"a {type(call.mask).__name__} mask of {call.kernel}"
        fix = "call model.set_attn_implementation('sdpa') first"
        raise UnsupportedOptionError(message(got, "sdpa, eager or flash kernels", fix, task="read attention rows"))
    mask = call.mask[:, :, call.rows, :keys]
    if mask.dtype == torch.bool:
        return mask, None
    return mask > torch.finfo(mask.dtype).min / 2, at_least_float32(mask)


def _implied_visibility(call: AttentionCall, used: int) -> Bool[torch.Tensor, "1 1 row key"]:
    """Visibility when the kernel gets no full mask: all for eager, causal for the others, and a window for flash.

    The newest of the used keys is the last query's own.
    """
    keys, queries = call.key.shape[2], call.query.shape[2]
    columns = torch.arange(keys, device=call.query.device)
    flash = "flash" in call.kernel
    # sdpa without a mask starts at key 0 (also for the unused tail of a static cache); flash ends at the last one used
    offset = used - queries if flash else 0
    rows = torch.arange(queries, device=call.query.device)[call.rows].unsqueeze(1) + offset
    if hides_nothing(call):
        return torch.ones(1, 1, call.num_rows, keys, dtype=torch.bool, device=call.query.device)
    visible = columns <= rows
    window = call.options.get("sliding_window")
    if flash and window is not None:
        visible = visible & (columns > rows - window)
    return visible[None, None]


def hides_nothing(call: AttentionCall) -> bool:
    """Whether a kernel without a mask lets every row see every key.

    Returns:
        True for eager, for a kernel that is not causal, and for a single row without a window that is shorter.
    """
    is_causal = call.options.get("is_causal")
    is_causal = getattr(call.module, "is_causal", True) if is_causal is None else is_causal
    window = call.options.get("sliding_window") if "flash" in call.kernel else None
    reaches = window is None or window >= call.key.shape[2]
    return call.kernel == "eager" or not is_causal or (call.query.shape[2] == 1 and reaches)


def softmax_rows(
    scores: Float[torch.Tensor, "batch head row key"], call: AttentionCall
) -> Float[torch.Tensor, "batch head row key"]:
    """Softmax over keys in float32, with a learned sink where the model has one.

    Args:
        scores: Masked scores ``[batch, head, row, key]``.

    Returns:
        Weights ``[batch, head, row, key]``; with a sink their sum is below 1.
    """
    sink = sink_scores(call)
    if sink is None:
        return torch.softmax(scores, -1)
    column = sink.to(scores.dtype).expand(*scores.shape[:3], 1)
    return torch.softmax(torch.cat([scores, column], -1), -1)[..., :-1]


def mix_values(
    weights: Float[torch.Tensor, "batch head row key"], call: AttentionCall, *, differentiable: bool = False
) -> Float[torch.Tensor, "batch row head value_dim"]:
    """Head outputs ``a @ v`` of the rows of interest, ``[batch, row, head, value dim]`` in the value's dtype.

    The weights are rounded to that dtype first, as every kernel does it: no cache is copied.

    Args:
        weights: float32 ``[batch, head, row, key]``.
        differentiable: As in ``row_scores``, for the values.

    Returns:
        Outputs as an attention function returns them.
    """
    differentiable = differentiable and not call.whole_graph
    value = call.value.detach() if differentiable else call.value
    batch, heads, rows, _ = weights.shape
    mixed = (_grouped(weights.to(value.dtype), value.shape[1]) @ value).reshape(batch, heads, rows, value.shape[-1])
    if differentiable and not call.crosses:
        columns = own_key_columns(call)
        own = at_least_float32(_own(call.value, call))
        own = own if own.shape[1] == heads else own.repeat_interleave(heads // own.shape[1], 1)
        index = columns.view(1, 1, -1, 1).expand(batch, heads, rows, 1)
        mixed = mixed + weights.detach().gather(-1, index) * (own - own.detach())
    return mixed.transpose(1, 2).to(call.value.dtype)
