"""The keyword arguments of attention calls: which change the weights, which do not, and which are not known."""

from types import MappingProxyType
from typing import Final

import torch
from jaxtyping import Float

from lvlmscope.errors import UnsupportedOptionError, message
from lvlmscope.hooks.attention_call import AttentionCall

__all__ = ["HARMLESS", "READ", "require_readable", "sink_scores", "unknown_options"]

READ: Final = MappingProxyType(
    {
        "scaling": "factor of the scores",
        "softcap": "the scores become softcap * tanh(scores / softcap)",
        "position_bias": "added to the scores",
        "s_aux": "learned sink: one more score per head, whose weight goes to no key",
        "sinks": "the same, one score per query and head",
        "is_causal": "whether a kernel without a mask hides later keys",
        "sliding_window": "read where a flash kernel gets no full mask; every other kernel's mask holds the window",
    }
)
HARMLESS: Final = MappingProxyType(
    {
        "cache_position": "says where the keys stand; the mask is made with it",
        "deterministic": "of flash's backward",
        "layer_idx": "number of the layer",
        "logits_to_keep": "of the language model's head",
        "mm_token_type_ids": "positions and masks are made with it before the layers",
        "num_items_in_batch": "of the loss",
        "output_attentions": "whether the weights are given back",
        "output_hidden_states": "of the model's output",
        "output_router_logits": "of the experts",
        "past_key_values": "the cache, already read when the kernel is called",
        "position_embeddings": "query and key are rotated with it before the kernel is called",
        "position_ids": "query and key are rotated with it before the kernel is called",
        "return_dict": "of the model's output",
        "token_type_ids": "the mask is made with it before the layers",
        "use_cache": "of the model's output",
    }
)
# Keys chosen by a sparse layer: for these kernels transformers writes the choice into the mask
_CHOSEN_KEYS: Final = ("indices", "block_indices")
_MASKED_KERNELS: Final = ("eager", "sdpa")


def require_readable(call: AttentionCall) -> None:
    """Refuse a call whose weights cannot be computed from what it receives.

    Raises:
        UnsupportedOptionError: Dropout; keys that the kernel fetches itself (continuous batching); keys chosen for a
            kernel that gets no mask of them.
    """
    given = {name: value for name, value in call.options.items() if value is not None}
    if given.get("dropout"):
        _refuse(call, f"dropout {given['dropout']:g}", "the same weights for the same input", "call model.eval()")
    if "cache" in given:
        fix = "call model.generate instead of generate_batch"
        _refuse(call, "cache=, keys that the kernel fetches itself", "keys in the call", fix)
    chosen = [name for name in _CHOSEN_KEYS if name in given]
    if chosen and call.kernel not in _MASKED_KERNELS:
        fix = "call model.set_attn_implementation('sdpa') or 'eager' first"
        _refuse(call, f"{chosen[0]}=, keys chosen outside the mask", "a mask that holds the choice", fix)


def unknown_options(call: AttentionCall) -> tuple[str, ...]:
    """Keyword arguments that say something this version does not understand.

    Returns:
        Their names; the weights are right only where they turn out to change nothing.
    """
    known = {*READ, *HARMLESS, *_CHOSEN_KEYS, "dropout"}
    return tuple(n for n, value in call.options.items() if n not in known and value is not None and value is not False)


def sink_scores(call: AttentionCall) -> Float[torch.Tensor, "#batch head #row 1"] | None:
    """Scores of the learned sink beside the keys of the rows of interest.

    Returns:
        ``[1 or batch, head, 1 or row, 1]``, None for a model without one.

    Raises:
        UnsupportedOptionError: Two sinks, or one of another shape.
    """
    given = [name for name in ("s_aux", "sinks") if call.options.get(name) is not None]
    if not given:
        return None
    sink: torch.Tensor = call.options[given[0]]
    heads, queries = call.query.shape[1:3]
    if len(given) == 1 and sink.numel() == heads:
        return sink.reshape(1, heads, 1, 1)
    if len(given) == 1 and sink.shape == (call.query.shape[0], heads, queries, 1):
        return sink[:, :, call.rows]
    got = " and ".join(f"{name} {list(call.options[name].shape)}" for name in given)
    _refuse(call, got, "one sink per head, or per query and head", "report the model")
    return None


def _refuse(call: AttentionCall, got: str, expected: str, fix: str) -> None:
    where = f"read attention rows of {type(call.module).__name__} ({call.kernel})"
    raise UnsupportedOptionError(message(got, expected, fix, task=where))
