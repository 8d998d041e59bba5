"""Random numbers that follow from what they are for: the same in a batch, alone, and when an answer is replayed."""

import math
from typing import Final

import torch
from jaxtyping import Float, Int

__all__ = ["mixed", "normal", "uniform"]

# Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators": splitmix64, as signed numbers
_STEP: Final = -7046029254386353131
_FIRST: Final = -4658895280553007687
_SECOND: Final = -7723592293110705685


def mixed(
    state: Int[torch.Tensor, "*state"] | int, value: Int[torch.Tensor, "*value"] | int
) -> Int[torch.Tensor, "..."]:
    """A state with one more number mixed in; the shapes are broadcast.

    Args:
        state: A state, or the first number.
        value: What is mixed in.

    Returns:
        int64 states.
    """
    bits = torch.as_tensor(state, dtype=torch.int64) * _STEP + torch.as_tensor(value, dtype=torch.int64) + _STEP
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: torch.Tensor, by: int) -> torch.Tensor:
    """Shifted to the right with zeros, which torch does not do for signed numbers."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def uniform(state: Int[torch.Tensor, "*state"]) -> Float[torch.Tensor, "*state"]:
    """Numbers above 0 and below 1, one for each state.

    Args:
        state: States of `mixed`.

    Returns:
        float32 of the same shape.
    """
    return (_shifted(state, 41).float() + 0.5) * 2.0**-23


def normal(state: Int[torch.Tensor, "*state"]) -> Float[torch.Tensor, "*state"]:
    """Standard normal numbers, one for each state.

    Args:
        state: States of `mixed`.

    Returns:
        float32 of the same shape.
    """
    found: torch.Tensor = torch.erfinv(2 * uniform(state) - 1) * math.sqrt(2)
    return found
