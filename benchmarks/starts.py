"""A session from its start to the first figure, stage by stage, each time in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.one_session import FLOOR
from benchmarks.tables import Plan, Table
from benchmarks.timing import Seconds, timing_row

__all__ = ["measure"]


def measure(plan: Plan) -> Table:
    """Seconds of each stage.

    Args:
        plan: What to run.
    """
    runs = [_stages(plan.threads) for _ in range(plan.rounds)]
    times = {name: [Seconds(*run[name]) for run in runs] for name in runs[0]}
    rows = [{"run": name} | timing_row(own, times[FLOOR]) for name, own in times.items()]
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
