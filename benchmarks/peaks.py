"""Most memory that one run holds beyond what was there: of an accelerator, or resident in a process of its own."""

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

__all__ = ["device_peak", "resident_peaks"]


def resident_peaks(
    run: Callable[..., Any], cases: Sequence[tuple[Any, ...]], *, warm: Sequence[tuple[Any, ...]], threads: int = 1
) -> list[float]:
    """What one call holds at most beyond what was resident before, MB, for each case in a process of its own.

    Args:
        run: A function of a module.
        cases: Its arguments, one call each.
        warm: Arguments of a smaller call before each: what a first call imports and keeps does not count.
        threads: Threads of torch.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "lvlmscope"])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        pairs = zip(cases, warm, strict=True)
        return [pool.submit(_peak, run, case, small, threads).result() for case, small in pairs]


def _peak(run: Callable[..., Any], case: tuple[Any, ...], small: tuple[Any, ...], threads: int) -> float:
    torch.set_num_threads(threads)
    run(*small)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # Linux: the peak begins anew
    before = _resident("VmRSS")
    run(*case)
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    """This process in MB: "VmRSS" now, "VmHWM" at most since that began."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1_024 / 1e6


def device_peak(run: Callable[[], Any]) -> float:
    """What torch allocates at most on the accelerator beyond what was allocated before, MB.

    Args:
        run: The call.
    """
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 1e6
