"""Times of variants that take turns, in seconds of wall clock and of the processor.

A ratio is the median over rounds of the quotient in each round: where other programs use the machine, too, they slow
both sides down. pyperf and `torch.utils.benchmark` time one statement to its end before the next begins, which compares
two moments of the machine.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Seconds", "TokenClock", "in_turn", "spent", "timing_row"]

Run = Callable[[], "Seconds | None"]


@dataclass(frozen=True, slots=True)
class Seconds:
    """Time of one run.

    Attributes:
        wall: Wall clock.
        cpu: Of all threads of this process.
    """

    wall: float
    cpu: float


def spent(run: Callable[[], Any]) -> Seconds:
    """Time of one call, until the device has done what it launched.

    Args:
        run: The call; where it gives `Seconds` of its own, these count.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    own = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return own if isinstance(own, Seconds) else Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def in_turn(variants: Mapping[str, Run], rounds: int) -> dict[str, list[Seconds]]:
    """Times of each variant; every round runs all of them, after one round that warms up.

    Args:
        variants: What is run, by name.
        rounds: How many count.
    """
    times: dict[str, list[Seconds]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            found = spent(run)
            if number:
                times[name].append(found)
    return times


def timing_row(own: Sequence[Seconds], floor: Sequence[Seconds]) -> dict[str, Any]:
    """Medians of one variant and of its quotients to the floor, and the samples they are made from.

    Args:
        own: The variant's times.
        floor: The floor's in the same rounds.
    """
    found: dict[str, Any] = {}
    for clock in ("wall", "cpu"):
        mine, least = ([getattr(each, clock) for each in times] for times in (own, floor))
        found |= {clock: statistics.median(mine), f"{clock}_samples": [round(each, 5) for each in mine]}
        found[f"{clock}_ratio"] = statistics.median(a / b for a, b in zip(mine, least, strict=True))
    return found


class TokenClock:
    """Notes when each token of an answer is there; a stopping criterion of `generate` that stops nothing."""

    def __init__(self) -> None:
        """Start without a token."""
        self._at: list[Seconds] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Note one token; False for each sample."""
        del scores
        self._at.append(Seconds(time.perf_counter(), time.process_time()))
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    @property
    def per_token(self) -> Seconds:
        """Mean time from one token to the next: the prompt, and the first token, do not count."""
        first, last, steps = self._at[0], self._at[-1], len(self._at) - 1
        return Seconds((last.wall - first.wall) / steps, (last.cpu - first.cpu) / steps)
