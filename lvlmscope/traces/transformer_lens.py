"""To and from TransformerLens: a trace as its ``ActivationCache``, and rows read from its ``TransformerBridge``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lvlmscope.errors import MissingExtraError, ModelInputError, message

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["activation_cache", "bridge_rows"]


def activation_cache(trace: "Trace", model: Any = None) -> Any:
    """A trace under TransformerLens' hook names, with a batch axis of 1; the query axis holds the predicting rows.

    ``blocks.{layer}.attn.hook_pattern`` is ``[1, head, step, key]``; with hidden states,
    ``blocks.{layer}.hook_resid_pre`` and ``hook_resid_post`` are ``[1, step, hidden]``.

    Args:
        trace: What to hand over.
        model: TransformerLens model that the cache's own analyses refer to, None where none of them is used.

    Returns:
        ``transformer_lens.ActivationCache``.

    Raises:
        MissingExtraError: TransformerLens is not installed.
    """
    try:
        from transformer_lens import ActivationCache
    except ImportError as error:
        fix = "pip install 'lvlmscope[lens]'"
        raise MissingExtraError(
            message("no transformer_lens", "the extra lens", fix, task="make an ActivationCache")
        ) from error
    entries: dict[str, torch.Tensor] = {}
    for place, layer in enumerate(trace.layer_indices):
        entries[f"blocks.{layer}.attn.hook_pattern"] = trace.attention[:, place].transpose(0, 1)[None]
    if trace.hidden_states is not None:
        for layer in range(trace.hidden_states.shape[1] - 1):
            entries[f"blocks.{layer}.hook_resid_pre"] = trace.hidden_states[None, :, layer]
            entries[f"blocks.{layer}.hook_resid_post"] = trace.hidden_states[None, :, layer + 1]
    return ActivationCache(entries, model)


def bridge_rows(bridge: Any, inputs: Mapping[str, Any], answer_ids: torch.Tensor) -> torch.Tensor:
    """Predicting rows of an answer as a ``TransformerBridge`` computes them: a reference independent of the tap.

    The bridge keeps whole maps of ``[query, key]``: for short sequences. Where it cannot load a processor, booting one
    (TransformerLens 4.3) runs pip for torchvision, which may replace torch: install a torchvision of your torch before.

    Args:
        bridge: ``transformer_lens.model_bridge.TransformerBridge`` of a vision-language model.
        inputs: Prepared model inputs of one sample.
        answer_ids: The answer's ids ``[step]``.

    Returns:
        ``[step, layer, head, key]``, as ``Trace.attention``.

    Raises:
        ModelInputError: More than one sample, or a model without ``hook_pattern``.
    """
    ids, steps = inputs["input_ids"], len(answer_ids)
    if ids.shape[0] != 1:
        got, fix = f"{ids.shape[0]} samples", "read them one by one"
        raise ModelInputError(message(got, "one sample", fix, task="read rows from a bridge"))
    others: dict[str, Any] = {}
    for name, value in inputs.items():
        if name in ("token_type_ids", "mm_token_type_ids"):  # 0 is text
            others[name] = torch.nn.functional.pad(value, (0, steps - 1))
        elif name not in ("input_ids", "attention_mask"):
            others[name] = value
    whole = torch.cat([ids, answer_ids[None, :-1].to(ids)], 1)
    names = [f"blocks.{n}.attn.hook_pattern" for n in range(bridge.cfg.n_layers)]
    with torch.no_grad():
        _, cache = bridge.run_with_cache(whole, names_filter=lambda name: name in names, **others)
    missing = [name for name in names if name not in cache]
    if missing:
        got, expected = f"no {missing[0]}", "bridges whose blocks keep their attention pattern"
        raise ModelInputError(message(got, expected, "use lvlmscope.trace", task="read rows from a bridge"))
    rows = [cache[name][0, :, ids.shape[1] - 1 :].transpose(0, 1) for name in names]
    return torch.stack(rows, 1).float().cpu()
