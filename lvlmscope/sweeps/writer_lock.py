"""One writer of a folder: a process, or the ranks of one launch, each with a share of the parts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from lvlmscope.errors import OutputError, message
from lvlmscope.evaluation.sweep_tables import MANIFEST

__all__ = ["Share", "only_writer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which parts a process runs: those whose number is `rank` modulo `world`.

    Attributes:
        rank: 0 to world - 1.
        world: Number of processes.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_environment(cls) -> Self:
        """The rank that `torchrun` or `accelerate launch` gave this process; all parts without one.

        Raises:
            OutputError: `RANK` and `WORLD_SIZE` that are no rank among as many processes.
        """
        rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not (rank.isdigit() and world.isdigit() and int(rank) < int(world)):
            got, expected = f"RANK={rank!r} and WORLD_SIZE={world!r}", "0 to WORLD_SIZE - 1"
            raise OutputError(message(got, expected, "start it with torchrun", task="split a sweep"))
        return cls(rank=int(rank), world=int(world))

    def holds(self, part: int) -> bool:
        """Whether a part is this process's."""
        return part % self.world == self.rank


@contextmanager
def only_writer(folder: Path, share: Share) -> Iterator[None]:
    """Keep other writers out: the same rank, and every process of a launch that is split another way.

    The locks are the operating system's, so that those of a killed process are free again. Where no sweep was begun
    in the block, the lock's file is removed.

    Args:
        folder: The sweep's folder.
        share: This process's share.

    Yields:
        Nothing.

    Raises:
        OutputError: Another process writes into the folder.
    """
    own = folder / f".writer-{share.rank}-of-{share.world}.lock"
    with _acquired(own):
        for other in folder.glob(".writer-*.lock"):
            if not other.stem.endswith(f"-of-{share.world}"):
                with _acquired(other):
                    pass  # free: left by an earlier launch
        try:
            yield
        finally:
            if not (folder / MANIFEST).exists():
                own.unlink(missing_ok=True)  # one who waits for it takes a new file


@contextmanager
def _acquired(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        got, expected = f"{path.parent}, into which another process writes ({path.name})", "one sweep at a time"
        fix = "wait for it, stop it, or choose another folder"
        raise OutputError(message(got, expected, fix, task="start a sweep")) from error
    try:
        yield
    finally:
        lock.release()
