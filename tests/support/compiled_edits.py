"""A process that decodes with compiled edits and prints how they compare: run by tests/runtime/test_compiled_edits.py.

A process of its own, because the shape checks of the test suite wrap the functions that torch is to compile.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._inductor import metrics

import lvlmscope as lv
from benchmarks.shapes import build
from benchmarks.traces import settings
from lvlmscope.runtime.compiled_edits import RowEdit

STACKS: dict[str, tuple[Any, ...]] = {
    "DLEAF": (lv.DLEAF(gamma=0.5),),
    "CLVA": (lv.CLVA(),),
    "LocoRE": (lv.LocoRE(),),
    "HeadRescaling": (lv.HeadRescaling(tau_perc=0.2, tau_reas=0.1, l_perc=0.4, l_reas=0.5),),
}


def decoded(prepared: Any, stack: tuple[Any, ...], *, compiled: bool, **options: Any) -> tuple[Any, Any]:
    """Scores of an answer, and the reports."""
    asked = settings(4) | {"return_dict_in_generate": True, "output_logits": True} | options
    with lv.intervene(prepared.model, *stack, compile=compiled) as handle:
        answer = prepared.model.generate(**prepared.inputs, **asked)
    return torch.stack(answer.logits), handle.report()


def counting(patch: pytest.MonkeyPatch) -> list[int]:
    """Kernels that inductor generates in each call of an edit; none where it is compiled already."""
    kernels: list[int] = []
    call = RowEdit.__call__

    def counted(self: RowEdit, *args: Any, **options: Any) -> Any:
        metrics.reset()
        found = call(self, *args, **options)
        kernels.append(metrics.generated_kernel_count)
        return found

    patch.setattr(RowEdit, "__call__", counted)
    return kernels


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers that a report holds, by the path to them."""
    if isinstance(value, dict | list | tuple):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, f"{name}/{key}")
    elif isinstance(value, int | float):
        yield name, value


def compared(name: str, **options: Any) -> dict[str, Any]:
    """How one intervention's scores and counts differ, and what was compiled for it; `compile_model` compiles both."""
    prepared, stack = build("smallest"), STACKS[name]
    with torch.no_grad():  # attention that is not the same everywhere
        for layer in prepared.model.model.language_model.layers:
            layer.self_attn.q_proj.weight.mul_(300)
    if options.pop("compile_model", False):
        prepared.model.compile()
    as_written, told = decoded(prepared, stack, compiled=False, **options)
    with pytest.MonkeyPatch.context() as patch:
        kernels = counting(patch)
        found, compiled_told = decoded(prepared, stack, compiled=True, **options)
    plain, _ = decoded(prepared, (), compiled=False, **options)
    return {
        "gap": float((found - as_written).abs().max()),
        "effect": float((found - plain).abs().max()),
        "edited": [sum(each["edited_heads"] + each["scaled_heads"] for each in one) for one in (told, compiled_told)],
        "reports": [dict(leaves(one)) for one in (told, compiled_told)],
        "kernels": [each for each in kernels if each],
        "calls": len(kernels),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error", UserWarning)
    sys.stdout.write(json.dumps(compared(sys.argv[1], **json.loads(sys.argv[2]))) + "\n")
