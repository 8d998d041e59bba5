"""Variants of one answer in batches of a fixed size."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float

__all__ = ["in_batches"]

Variant = TypeVar("Variant")


def in_batches(
    variants: Sequence[Variant],
    size: int,
    begin: Callable[[list[Variant]], Any],
    run: Callable[[], Float[torch.Tensor, "row step"]],
) -> Float[torch.Tensor, "variant step"]:
    """Run an answer once for each variant, `size` of them at a time; the last batch is filled up with its last variant.

    Args:
        variants: What differs between the rows.
        size: Rows of each forward.
        begin: Gets the variants of the next forward, `size` of them.
        run: The forward, whose rows are those variants.

    Returns:
        One row for each variant.
    """
    found = []
    for start in range(0, len(variants), size):
        batch = list(variants[start : start + size])
        begin([*batch, *batch[-1:] * (size - len(batch))])
        found.append(run()[: len(batch)])
    return torch.cat(found)
