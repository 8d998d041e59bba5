"""Limits and choices of options that the commands share."""

from enum import StrEnum
from typing import Final

__all__ = ["MAX_SEED", "MapMethod"]

MAX_SEED: Final = 2**32 - 1  # numpy and transformers take no greater seed


class MapMethod(StrEnum):
    """Maps of words that are computed with the model."""

    OCCLUSION = "occlusion"
    INTEGRATED_GRADIENTS = "integrated_gradients"
