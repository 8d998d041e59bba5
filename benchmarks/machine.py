"""What a measurement was made with: machine, versions, commit, load and moment."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from cpuinfo import get_cpu_info  # type: ignore[import-untyped]  # comes with pytest-benchmark

__all__ = ["machine", "moment"]

_PACKAGES = ("torch", "transformers", "numpy", "xarray")


def machine(device: str) -> dict[str, Any]:
    """The machine and the versions.

    Args:
        device: Where the models are.
    """
    found = {
        "processor": get_cpu_info().get("brand_raw", platform.machine()),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
    }
    if device == "cuda":
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def moment() -> dict[str, Any]:
    """When, and how busy the machine was: the load of the last minute."""
    return {"when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "load": round(os.getloadavg()[0], 1)}


def _commit() -> str:
    """The checkout's commit, or that there is none."""
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607 - whichever git there is
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "no checkout"
