"""What the page of a long answer costs: time, memory beyond the trace, bytes; and the summary in a notebook.

python docs/studies/scripts/long_page.py             300 words, 32 x 32 heads, 24 x 24 image tokens: 1.1 GB of rows
python docs/studies/scripts/long_page.py 60 8 8 16   words, layers, heads, patches along a side
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace
from lvlmscope.explorer.document import describe_document


def resident(name: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at most since the last reset.

    Args:
        name: The line of /proc/self/status.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def cost(call: Callable[[], Any], size: int) -> dict[str, float]:
    """Seconds of wall clock and of processor, and bytes held at most beyond those before, as a share of the trace's.

    Args:
        call: What is measured.
        size: Bytes of the trace.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before, wall, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
    call()
    seconds = (time.perf_counter() - wall, time.process_time() - cpu)
    held = (resident("VmHWM") - before) / size
    return {"wall_s": round(seconds[0], 2), "cpu_s": round(seconds[1], 2), "beyond_trace": round(held, 3)}


def main(words: int = 300, layers: int = 32, heads: int = 32, side: int = 24) -> None:
    """Prints one JSON object.

    Args:
        words: Words of the answer, one token each.
        layers: Layers.
        heads: Heads.
        side: Image tokens along each side.
    """
    trace = planted_trace(steps=words, layers=layers, heads=heads, side=side)
    generator = torch.Generator().manual_seed(0)
    for rows in trace.attention:
        rows.mul_(torch.rand(rows.shape, generator=generator))
    size = trace.attention.nbytes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        lv.report(planted_trace(), path)  # what is loaded once is loaded
        found: dict[str, Any] = {"trace_bytes": size}
        found["words_and_maps_first"] = cost(lambda: describe_document(trace), size)
        found["report"] = cost(lambda: lv.report(trace, path), size)
        found["page_bytes"] = path.stat().st_size
    found["summary"] = cost(trace._repr_html_, size)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
