"""Floating-point operations of an answer and its trace, counted: what no implementation can save."""

from collections.abc import Callable
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

import lvlmscope as lv
from benchmarks.shapes import SHAPES
from benchmarks.tables import Plan, Table
from benchmarks.traces import settings

__all__ = ["measure"]


def measure(plan: Plan) -> Table:
    """Operations of matrix products and attention kernels, by run.

    Args:
        plan: What to run.
    """
    rows = [row for name in plan.shapes for row in _rows(plan, name)]
    shapes = "; ".join(f"{name}: {SHAPES[name].about}" for name in plan.shapes)
    return Table(
        title="Arithmetic, counted",
        about="Operations of matrix products, convolutions and attention kernels, in thousand millions, of "
        f"{plan.tokens} new tokens. {shapes}. A replay takes every row of the answer through the decoder once more, "
        "and a backward pass once more again: where arithmetic decides the time, as in large batches on a CPU, no "
        "trace of these rows costs less. Alone, a decoded token waits for weights rather than for products, so that "
        "the same operations weigh less there.",
        columns={"model": "text", "run": "text", "operations": "text", "ratio": "x"},
        rows=rows,
    )


def _rows(plan: Plan, name: str) -> list[dict[str, Any]]:
    prepared = plan.prepared(name)
    model, inputs = prepared.model, prepared.inputs
    traced: dict[str, Any] = {"progress": False} | settings(plan.tokens)
    runs: dict[str, Callable[[], Any]] = {
        "generate": lambda: model.generate(**inputs, **settings(plan.tokens)),
        "trace": lambda: lv.trace_inputs(model, inputs, **traced),
        "trace(gradients=True)": lambda: lv.trace_inputs(model, inputs, gradients=True, **traced),
    }
    counts = {run: _counted(call) for run, call in runs.items()}
    least = counts["generate"]
    return [
        {"model": name, "run": run, "operations": f"{count / 1e9:,.1f}", "ratio": count / least}
        for run, count in counts.items()
    ]


def _counted(call: Callable[[], Any]) -> int:
    call()
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())
