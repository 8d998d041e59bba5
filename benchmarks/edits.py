"""Each intervention by the decoded token, and the most memory that an answer takes with it."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

import lvlmscope as lv
from benchmarks.peaks import device_peak, resident_peaks
from benchmarks.shapes import build, repeated
from benchmarks.tables import Plan, Table
from benchmarks.timing import Seconds, TokenClock, in_turn, timing_row
from benchmarks.traces import settings
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.models.loaded_model import family_for
from lvlmscope.models.weights_digest import weights_digest

__all__ = ["interventions", "measure"]

PLAIN = "generate"


def interventions(model: Any) -> dict[str, tuple[Any, ...]]:
    """What is measured, by name: those of the five papers, then the others.

    Args:
        model: A bare model.
    """
    config = model.config.get_text_config()
    hidden, layers = config.hidden_size, config.num_hidden_layers
    along = torch.nn.functional.normalize(torch.ones(layers, hidden), dim=-1)
    directions = lv.Directions(vectors=along, model_digest=weights_digest(family_for(model).decoder_layers(model)))
    rescaling = lv.HeadRescaling(tau_perc=0.3, tau_reas=0.1, l_perc=0.4, l_reas=0.5)
    return {
        "D-LEAF": (lv.DLEAF(gamma=0.5),),
        "CLVA": (lv.CLVA(),),
        "LocoRE": (lv.LocoRE(),),
        "HeadRescaling": (rescaling,),
        "HalluRNN": (lv.HalluRNN(cell=DepthCell(CellConfig(hidden_size=hidden))),),
        "SGRS, k=5": (lv.SGRS(k=5),),
        "D-LEAF + CLVA + LocoRE": (lv.DLEAF(gamma=0.5), lv.CLVA(), lv.LocoRE()),
        "ADHH": (lv.ADHH(heads=[f"{layer}.0" for layer in range(layers)], threshold=0.0),),
        "SPIN": (lv.SPIN(),),
        "Steering": (lv.Steering(directions=directions),),
        "DeCo": (lv.DeCo(),),
        "DoLa": (lv.DoLa(),),
        "OPERA": (lv.OPERA(),),
        "AGLA": (lv.AGLA(),),
        "ICD": (lv.ICD(disturbance=(3, 4, 5)),),  # these models have no tokenizer
        "M3ID": (lv.M3ID(),),
        "PAI": (lv.PAI(),),
        "VCD": (lv.VCD(),),
    }


def _decode(model: Any, inputs: dict[str, torch.Tensor], tokens: int, switched_on: Callable[[], Any]) -> Seconds:
    """Mean time of a token after the first."""
    clock = TokenClock()
    with switched_on():
        model.generate(**inputs, **settings(tokens), stopping_criteria=[clock])
    return clock.per_token


def measure(plan: Plan) -> Table:
    """Milliseconds a token.

    Args:
        plan: What to run.
    """
    tokens = max(plan.tokens // 2, 4)
    rows: list[dict[str, Any]] = []
    for name in plan.shapes:
        prepared = plan.prepared(name)
        stacks = _stacks(prepared.model)
        most = _peaks(plan, name, stacks, tokens)
        for batch in plan.batches if name == plan.shapes[0] else plan.batches[:1]:
            inputs = repeated(prepared.inputs, batch)
            variants = {
                each: partial(_decode, prepared.model, inputs, tokens, _switch(prepared.model, stack))
                for each, stack in stacks.items()
            }
            times = in_turn(variants, plan.rounds)
            for each, own in times.items():
                row = {"model": name, "batch": batch, "run": each} | timing_row(own, times[PLAIN])
                rows.append(row | ({"peak": most[each]} if batch == 1 else {}))
    return Table(
        title="Interventions, by the decoded token",
        about=f"Mean time from one token to the next over {tokens} tokens; the prompt does not count. "
        "The peak is of the whole answer, beyond that of `generate`.",
        columns={"model": "text", "batch": "count", "run": "text", "wall": "ms", "wall_ratio": "x"}
        | {"cpu": "ms", "cpu_ratio": "x", "peak": "MB"},
        rows=rows,
    )


def _stacks(model: Any) -> dict[str, tuple[Any, ...]]:
    return {PLAIN: ()} | interventions(model)


def _switch(model: Any, stack: tuple[Any, ...]) -> Callable[[], Any]:
    return (lambda: lv.intervene(model, *stack)) if stack else nullcontext


def _peaks(plan: Plan, name: str, stacks: dict[str, tuple[Any, ...]], tokens: int) -> dict[str, float]:
    """Peak of one answer of batch 1 under each, beyond that of plain generation, MB."""
    if plan.on_accelerator:
        prepared = plan.prepared(name)
        most = [
            device_peak(partial(_decode, prepared.model, prepared.inputs, tokens, _switch(prepared.model, stack)))
            for stack in stacks.values()
        ]
    else:
        cases, warm = ([(name, each, size) for each in stacks] for size in (tokens, 3))
        most = resident_peaks(_answer, cases, warm=warm, threads=plan.threads)
    return dict(zip(stacks, (peak - most[0] for peak in most), strict=True))


def _answer(name: str, each: str, tokens: int) -> None:
    """One answer under one intervention, in a process of its own."""
    prepared = build(name)
    _decode(prepared.model, prepared.inputs, tokens, _switch(prepared.model, _stacks(prepared.model)[each]))
