"""A batch that fails is run again in smaller ones, so that an error stays with the sample that has it."""

import gc
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

import torch

__all__ = ["Done", "attempted", "done_or_failed", "without_frames"]

Arguments = ParamSpec("Arguments")
Ready = TypeVar("Ready")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """What a sample gave.

    Attributes:
        result: Its result.
        batch_size: Samples that were run together with it, itself counted.
    """

    result: Result
    batch_size: int


def attempted(
    call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result | Exception:
    """What a call gives, or what it raises: whatever it is, it is a sample's.

    Args:
        call: What is called.
        *args: Its arguments.
        **kwargs: Its keywords.
    """
    try:
        return call(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the caller records it
        return error


def done_or_failed(
    ready: Sequence[Ready], run: Callable[[Sequence[Ready]], Sequence[Result]]
) -> list[Done[Result] | Exception]:
    """What each sample gives: all together, halved where memory is too small, one by one where another error spoils it.

    Args:
        ready: Samples that are prepared.
        run: Gives a result for each of some samples.

    Returns:
        For each sample its result or its error, in order.
    """
    if not ready:
        return []
    found = attempted(run, ready)
    if not isinstance(found, Exception):
        return [Done(each, len(ready)) for each in found]
    if len(ready) == 1:
        return [found]
    size = (len(ready) + 1) // 2 if _out_of_memory(found) else 1
    without_frames(found)
    del found
    _free_memory()
    parts = [ready[start : start + size] for start in range(0, len(ready), size)]
    return [result for part in parts for result in done_or_failed(part, run)]


def without_frames(error: Exception) -> Exception:
    """The error without its frames' variables: they would hold the failed batch in memory as long as the record."""
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
    return error


def _out_of_memory(error: Exception) -> bool:
    """Whether memory was too small: that of a GPU, of the process, or what `max_memory` allows."""
    # On the CPU torch raises a plain RuntimeError of its allocator
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
