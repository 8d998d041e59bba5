"""What a decoder's config says of its shape: which layers have attention, heads, inner widths, parallel streams."""

from collections.abc import Iterable
from typing import Any, Final

import torch

from lvlmscope.errors import UnsupportedModelError, message
from lvlmscope.models.families import Family

__all__ = [
    "attention_layers",
    "inner_width",
    "key_value_width",
    "parallel_streams",
    "refuse_unequal_heads",
    "require_one_stream",
]

# Gemma3n's AltUp, manifold hyper-connections (GLM5), Qwen4's hyper-connections
_STREAMS: Final = ("altup_num_inputs", "hc_mult", "hc_count")
# Heads of windowed layers where the config names them beside the others'
_OTHER_HEADS: Final = ("swa_num_attention_heads", "num_sliding_attention_heads")

# As transformers names them in a config's layer_types, before version 5 and since
_WITHOUT_ATTENTION: Final = frozenset(
    {"conv", "dense", "linear_attention", "mamba", "mamba2", "mlp", "moe", "recurrent", "sparse"}
)


def attention_layers(config: Any, count: int) -> tuple[int, ...]:
    """Numbers of the decoder layers that have attention, by the config's `layer_types`.

    Args:
        config: The decoder's config.
        count: Number of its layers.

    Returns:
        Ascending numbers: all, unless the decoder has recurrent or convolutional layers (Qwen3.5, LFM2-VL).
    """
    kinds = getattr(config, "layer_types", None) or ()
    return tuple(n for n in range(count) if len(kinds) != count or kinds[n] not in _WITHOUT_ATTENTION)


def parallel_streams(config: Any) -> int | None:
    """Number of residual streams that the decoder layers hand on side by side.

    Args:
        config: The decoder's config.

    Returns:
        None where there is one stream ``[batch, token, hidden]``; with parallel ones the tensor has another shape,
        also when there is only one of them.
    """
    found = (getattr(config, name, None) for name in _STREAMS)
    return next((int(count) for count in found if count is not None), None)


def require_one_stream(model: torch.nn.Module, family: Family, *, task: str) -> None:
    """Refuse to read or to edit hidden states where a token has several.

    Args:
        family: Its family's rules.
        task: What was to be done, for the message.

    Raises:
        UnsupportedModelError: The decoder has parallel residual streams.
    """
    streams = parallel_streams(family.text_config(model))
    if streams is not None:
        got = f"{type(model).__name__}, whose layers hand on {streams} parallel residual streams (hyper-connections)"
        fix = "leave hidden states out; attention rows and their gradients are traced"
        raise UnsupportedModelError(message(got, "one residual stream [batch, token, hidden]", fix, task=task))


def refuse_unequal_heads(model: torch.nn.Module, family: Family, *, task: str) -> None:
    """Refuse a decoder whose layers have different numbers of query heads, which a head axis cannot hold.

    Args:
        family: Its family's rules.
        task: What was to be done, for the message.

    Raises:
        UnsupportedModelError: The numbers differ.
    """
    config = family.text_config(model)
    found = set(_each(config, "num_attention_heads"))
    windowed = set(getattr(config, "layer_types", None) or ()) & {"sliding_attention", "hybrid_sliding"}
    if windowed:
        found |= {heads for name in _OTHER_HEADS if (heads := getattr(config, name, None)) is not None}
    if len(found) > 1:
        got = f"{type(model).__name__}, whose layers have {' or '.join(map(str, sorted(found)))} heads"
        fix = "choose a model with equally many query heads in every layer"
        raise UnsupportedModelError(message(got, "as many heads in every layer", fix, task=task))


def inner_width(config: Any) -> int:
    """Largest number of inner activations of a token in a feed-forward block, of all experts that it runs through.

    Args:
        config: The decoder's config; 4 times its hidden size where it names no inner width.

    Returns:
        The width.
    """
    experts = max(_each(config, "num_experts_per_tok"), default=1)
    dense = max(_each(config, "intermediate_size"), default=0)
    routed = experts * max(_each(config, "moe_intermediate_size"), default=0)
    return max(dense, routed) or 4 * int(config.hidden_size)


def key_value_width(config: Any) -> int:
    """Numbers that a token's keys and values of one layer take in a cache, in the layer with most.

    Args:
        config: The decoder's config.

    Returns:
        The width of both together.
    """
    heads = int(config.num_attention_heads)
    groups = max(_each(config, "num_key_value_heads"), default=heads)
    usual = max(_each(config, "head_dim"), default=0) or int(config.hidden_size) // heads
    usual = max([usual, *_each(config, "global_head_dim")])
    latent = max(_each(config, "qk_nope_head_dim"), default=0) + max(_each(config, "qk_rope_head_dim"), default=0)
    if latent:  # keys and values made from a latent state are cached as each head has them
        return heads * (latent + max(_each(config, "v_head_dim"), default=latent))
    return 2 * groups * usual


def _each(config: Any, name: str) -> list[int]:
    """The values of a setting that layers may have of their own: a list, or a config for each layer."""
    layers: Iterable[Any] = config.per_layer_config if getattr(config, "is_heterogeneous", False) else (config,)
    found = (getattr(layer, name, None) for layer in layers)
    return [
        int(n) for value in found if value is not None for n in (value if isinstance(value, list | tuple) else (value,))
    ]
