"""The signals of a reasoning model's long answer within a limit of memory, whose rows would not fit."""

import time
from typing import Any, Final

import torch

import lvlmscope as lv
from benchmarks.peaks import resident_peaks
from benchmarks.shapes import SHAPES, build
from benchmarks.tables import Plan, Table

__all__ = ["measure"]

SIGNALS: Final = ("image_attention_focus", "layer_image_entropy", "r_pos", "r_neg", "log_prob", "entropy")
STEPS: Final = 2_000
LIMITS: Final = ("1GB", "2GB", "4GB")


def _answer(steps: int) -> torch.Tensor:
    return torch.arange(steps) % 1_000 + 100


def _alone(name: str, steps: int, limit: str) -> None:
    """One trace in a process of its own, of an answer that is given; no limit: a forward of prompt and answer."""
    prepared = build(name)
    if limit:
        options: dict[str, Any] = {"keep": "signals", "signals": SIGNALS, "max_memory": limit, "progress": False}
        lv.trace_inputs(prepared.model, prepared.inputs, answer=_answer(steps), **options)
        return
    ids = torch.cat([prepared.inputs["input_ids"], _answer(steps)[None]], 1)
    more = {"mm_token_type_ids": torch.zeros(1, steps, dtype=torch.long), "attention_mask": torch.ones(1, steps).long()}
    grown = {key: torch.cat([prepared.inputs[key], value], 1) for key, value in more.items()}
    with torch.no_grad():
        prepared.model(**prepared.inputs | grown | {"input_ids": ids, "logits_to_keep": 1})


def _timed(plan: Plan, name: str, limit: str) -> dict[str, Any]:
    prepared = plan.prepared(name)
    began = time.process_time()
    options: dict[str, Any] = {"keep": "signals", "signals": SIGNALS, "max_memory": limit, "progress": False}
    (found,) = lv.trace_inputs(prepared.model, prepared.inputs, answer=_answer(STEPS), **options)
    return {"window": found.provenance["replay"]["window"], "cpu": time.process_time() - began}


def measure(plan: Plan) -> Table:
    """Peak memory and processor seconds by limit.

    Args:
        plan: What to run.
    """
    name = "long"
    cases = [(name, STEPS, limit) for limit in ("", *LIMITS)]
    peaks = resident_peaks(_alone, cases, warm=[(name, 64, limit) for _, _, limit in cases], threads=plan.threads)
    shape = plan.prepared(name)
    whole = lv.estimate(shape.model, inputs=shape.inputs, max_new_tokens=STEPS).kept / 1e6
    rows: list[dict[str, Any]] = [{"run": "one forward over prompt and answer", "peak": peaks[0], "kept": ""}]
    for limit, peak in zip(LIMITS, peaks[1:], strict=True):
        run = f'trace(keep="signals", max_memory="{limit}")'
        rows.append({"run": run, "peak": peak, "over": peak - peaks[0]} | _timed(plan, name, limit))
    return Table(
        title="A long answer, reduced to signals",
        about=f"{SHAPES[name].about}; an answer of {STEPS:,} tokens that is given, six signals. Rows of all steps "
        f"would take {whole:,.0f} MB. Peaks are of processes of their own, beyond what was resident before, with the "
        "cache of prompt and answer; that of the forward has the cache, too, and is subtracted. What the C allocator "
        "keeps of freed blocks is among them.",
        columns={"run": "text", "window": "count", "peak": "MB", "over": "MB", "cpu": "s"},
        rows=rows,
    )
