"""Decoders whose attention has key columns that are no token positions."""

from typing import Any, Final

__all__ = ["columns_beside_tokens"]

# Layer type of transformers: what its key columns are
_COLUMNS: Final = {
    "reference_sliding_attention": "the prompt and the last tokens of the answer, in the order of a ring buffer",
    "heavily_compressed_attention": "blocks of tokens, compressed to one key each, beside single tokens",
    "compressed_sparse_attention": "blocks of tokens, compressed to one key each, beside single tokens",
}


def columns_beside_tokens(text: Any) -> str:
    """Why a row's columns cannot be assigned to tokens: no comparison with eager attention would notice.

    Args:
        text: The decoder's config.

    Returns:
        Words about the layers and their key columns; empty where each column is a token.
    """
    found = next((kind for kind in getattr(text, "layer_types", None) or () if kind in _COLUMNS), "")
    return f"whose {found} layers have as key columns {_COLUMNS[found]}" if found else ""
