"""Faults injected into calls: each function of the package that a piece of code calls fails, once, at a chosen call."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import lvlmscope

__all__ = ["InjectedError", "Point", "failing", "points"]

_PACKAGE = str(Path(lvlmscope.__file__).parent)
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_TORCH = {"Module.register_forward_hook", "Module.register_forward_pre_hook", "RemovableHandle.remove"}


class InjectedError(RuntimeError):
    """What a function that fails on purpose raises."""


@dataclass(frozen=True, order=True)
class Point:
    """One call of one function, as it is entered or left.

    Attributes:
        module: File of the function.
        function: Its name within the file.
        leaving: Whether the function has done its work.
        number: Which of its calls, from 1.
    """

    module: str
    function: str
    leaving: bool
    number: int

    def __str__(self) -> str:
        return f"{Path(self.module).stem}.{self.function}, call {self.number}, {'left' if self.leaving else 'entered'}"


def points(use: Callable[[], Any], unfailing: Collection[str] = ()) -> list[Point]:
    """Every point at which a use may fail: a function's first two calls and its last.

    Functions that are resumed (generators) are left out: Python has no way to fail at their beginning that their own
    ``finally`` would see. What they call is not.

    Args:
        use: Code to follow, in this thread.
        unfailing: Names of functions that undo something: these fail once their work is done, and not before it.

    Returns:
        The points, sorted.
    """
    calls: Counter[tuple[str, str]] = Counter()

    def follow(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and _is_step(frame.f_code):
            calls[_key(frame.f_code)] += 1

    sys.setprofile(follow)
    try:
        use()
    finally:
        sys.setprofile(None)
    return sorted(
        Point(module, function, leaving, number)
        for (module, function), count in calls.items()
        for number in {1, min(2, count), count}
        for leaving in (False, True)
        if leaving or function.rpartition(".")[2] not in unfailing
    )


@contextmanager
def failing(point: Point) -> Iterator[list[Point]]:
    """Let a point fail once, in this thread.

    Args:
        point: As `points` gives it.

    Yields:
        A list, empty until the point has failed.
    """
    failed: list[Point] = []
    passed = 0
    wanted = "return" if point.leaving else "call"

    def inject(frame: FrameType, event: str, _: Any) -> None:
        nonlocal passed
        code = frame.f_code
        if event != wanted or failed or not _is_step(code) or _key(code) != (point.module, point.function):
            return
        passed += 1
        if passed == point.number:
            failed.append(point)
            raise InjectedError(f"failed on purpose in {point}")

    sys.setprofile(inject)
    try:
        yield failed
    finally:
        sys.setprofile(None)


def _is_step(code: CodeType) -> bool:
    if code.co_flags & _RESUMED or code.co_name.startswith("<"):
        return False
    return code.co_filename.startswith(_PACKAGE) or code.co_qualname in _TORCH


def _key(code: CodeType) -> tuple[str, str]:
    return code.co_filename, code.co_qualname
