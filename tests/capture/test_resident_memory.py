"""``max_memory`` and ``estimate`` against the resident size of a process that traces."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).parent.parent / "support" / "resident_size.py"
MIB = 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident sizes are read from Linux's /proc")
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ({"words": 1000, "steps": 40, "layers": 12, "heads": 32, "vocabulary": 1000}, {}),
        ({"words": 1000, "steps": 40, "layers": 12, "heads": 32, "vocabulary": 1000}, {"layerwise": True}),
        ({"words": 100, "steps": 80, "layers": 4, "heads": 16, "vocabulary": 60_000}, {}),
        ({"words": 100, "steps": 200, "layers": 4, "heads": 16, "vocabulary": 60_000}, {"mixed": True}),
        ({"words": 1000, "steps": 80, "layers": 12, "heads": 32, "vocabulary": 1000}, {"reduced": "whole"}),
        ({"words": 1000, "steps": 80, "layers": 12, "heads": 32, "vocabulary": 1000}, {"reduced": "windows"}),
    ],
    ids=[
        "rows",
        "layerwise gradients",
        "vocabulary",
        "branches",
        "signals",
        "signals in windows",
    ],
)
def test_a_trace_takes_what_its_estimate_says(shape: dict[str, int], options: dict[str, Any]) -> None:
    # With the allocator as users have it: what it keeps of freed blocks is resident, too
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CHILD), json.dumps(shape | options)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["layerwise"] == options.get("layerwise", False)
    assert (found["window"] is not None) == (options.get("reduced") == "windows")
    assert found["traced"] - found["generated"] <= max(1.05 * found["promised"], found["promised"] + 64 * MIB)
    assert found["traced"] - found["generated"] > 0.5 * found["kept"]  # something was measured
