"""A session from its start to the first figure, stage by stage, each time in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.one_session import FLOOR
from benchmarks.tables import Asked, Table
from benchmarks.timing import Seconds, told

__all__ = ["measure"]


def measure(asked: Asked) -> Table:
    """Seconds of each stage.

    Args:
        asked: What to run.
    """
    runs = [_stages(asked.threads) for _ in range(asked.rounds)]
    times = {name: [Seconds(*run[name]) for run in runs] for name in runs[0]}
    rows = [{"run": name} | told(own, times[FLOOR]) for name, own in times.items()]
    return Table(
        title="From import to the first figure",
        about="The bundled model on the CPU; stages of one process, in their order. Ratios are to its `generate`.",
        columns={"run": "text", "wall": "s", "wall_ratio": "x", "cpu": "s", "cpu_ratio": "x"},
        rows=rows,
    )


def _stages(threads: int) -> dict[str, tuple[float, float]]:
    command = [sys.executable, "-m", "benchmarks.one_session", str(threads)]
    ended = subprocess.run(  # noqa: S603 - this interpreter
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, tuple[float, float]] = json.loads(ended.stdout.splitlines()[-1])
    return found
