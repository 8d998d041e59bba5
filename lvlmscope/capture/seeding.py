"""Torch's random generators seeded for a while: one seed for a batch, or each sample's own noise."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from transformers import LogitsProcessor, LogitsProcessorList

from lvlmscope.hooks.instance_attributes import shadowed

__all__ = ["UNUSED_SEED", "own_noise", "seeded"]


UNUSED_SEED: Final = "nothing was drawn at random, so that seed={} had no effect"


@contextmanager
def seeded(seed: int | None, *, ask_use: bool = True) -> Iterator[None]:
    """Seed torch's generators, and put their state back afterwards; a seed from which nothing was drawn is warned of.

    Args:
        seed: The seed; None leaves the generators alone.
        ask_use: Warn where nothing was drawn.

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
        before = _states(devices)
        yield
        if ask_use and all(map(torch.equal, before, _states(devices))):
            text = f"{UNUSED_SEED.format(seed)}: sample with do_sample=True, or leave it out"
            warnings.warn(text, UserWarning, stacklevel=3)


def _states(devices: Sequence[int]) -> list[torch.Tensor]:
    """The state of the processor's generator, and of each GPU's."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]


@contextmanager
def own_noise(core: Any, seeds: Sequence[int]) -> Iterator[None]:
    """Let each sample of a batch be sampled with noise of its own, the same whatever batch it stands in.

    ``generate`` draws all tokens of a step from one generator, so that a sample's noise depends on its neighbours. Here
    ``argmax_v(score_v + g_v)`` with ``g = -ln(-ln u)``, ``u`` uniform from the sample's own generator, takes its place:
    the same distribution (the Gumbel-max trick), after every other processor. Greedy answers stay as they are. What
    draws from torch's own generators, as SGRS(proposal="sample") does, is seeded by the first sample's seed.

    Args:
        core: The module whose ``generate`` runs.
        seeds: One for each sample.

    Yields:
        Nothing.
    """
    original = core._get_logits_processor  # noqa: SLF001 - the only place where all processors are together

    def extended(*args: Any, **options: Any) -> LogitsProcessorList:
        found: LogitsProcessorList = original(*args, **options)
        config = options.get("generation_config", args[0] if args else None)
        if config is not None and config.do_sample:
            found.append(_OwnNoise(seeds))
        return found

    with seeded(seeds[0], ask_use=False), shadowed(core, "_get_logits_processor", extended):
        yield


class _OwnNoise(LogitsProcessor):
    """Leaves of each row the one token that its own noise chooses."""

    def __init__(self, seeds: Sequence[int]) -> None:
        # On the CPU, where a seed gives the same numbers on every machine
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(
        self, input_ids: Int[torch.Tensor, "batch _length"], scores: Float[torch.Tensor, "batch vocabulary"]
    ) -> Float[torch.Tensor, "batch vocabulary"]:
        del input_ids
        size = scores.shape[-1]
        drawn = [torch.rand(size, generator=each, dtype=torch.float64) for each in self._generators]
        noise = -(-torch.stack(drawn).log()).log()
        chosen = (scores.double() + noise.to(scores.device)).argmax(-1, keepdim=True)
        return torch.full_like(scores, float("-inf")).scatter(-1, chosen, 0.0)
