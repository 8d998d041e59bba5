"""Decoders whose attention has key columns that are no token positions, or are chosen by their place in a batch."""

from typing import Any, Final

__all__ = ["columns_beside_tokens", "shifted_by_padding"]

# Layer type of transformers: what its key columns are
_COLUMNS: Final = {
    "reference_sliding_attention": "the prompt and the last tokens of the answer, in the order of a ring buffer",
    "heavily_compressed_attention": "blocks of tokens, compressed to one key each, beside single tokens",
    "compressed_sparse_attention": "blocks of tokens, compressed to one key each, beside single tokens",
}

# Layer type of transformers: what of it depends on how far a sample is padded. In transformers 5.23 MiniMaxM3VLIndexer
# anchors blocks to places in the batch, as a comment in it says.
_SHIFTED: Final = {"minimax_m3_sparse": "choose blocks of keys that begin at places of the batch, padding counted"}


def columns_beside_tokens(text: Any) -> str:
    """Why a row's columns cannot be assigned to tokens: no comparison with eager attention would notice.

    Args:
        text: The decoder's config.

    Returns:
        Words about the layers and their key columns; empty where each column is a token.
    """
    found = next((kind for kind in getattr(text, "layer_types", None) or () if kind in _COLUMNS), "")
    return f"whose {found} layers have as key columns {_COLUMNS[found]}" if found else ""


def shifted_by_padding(text: Any) -> str:
    """Why the logits of a sample depend on its padding.

    Args:
        text: The decoder's config.

    Returns:
        Words about the layers; empty where none is known to.
    """
    found = next((kind for kind in getattr(text, "layer_types", None) or () if kind in _SHIFTED), "")
    return f"whose {found} layers {_SHIFTED[found]}" if found else ""
