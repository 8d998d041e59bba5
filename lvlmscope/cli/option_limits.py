"""Limits of options that several commands have."""

from typing import Final

__all__ = ["MAX_SEED"]

MAX_SEED: Final = 2**32 - 1  # numpy and transformers take no greater seed
