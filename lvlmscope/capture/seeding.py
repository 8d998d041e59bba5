"""Torch's random generators seeded for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's generators, and put their state back afterwards.

    Args:
        seed: The seed; None leaves the generators alone.

    Yields:
        Nothing.
    """
    if seed is None:
        yield
        return
    # Devices named: with several GPUs torch warns of a guess
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices) if devices else torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
