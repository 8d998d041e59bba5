"""Kernels launched and host synchronisations per decoded token: exact on any machine, however busy.

    python benchmarks/launches.py [--json]

A random LLaVA of 8 layers x 16 heads, hidden size 512, with 576 image tokens. On an accelerator a decode step takes
about as long as its kernels take to launch, so their number tells what an intervention costs there. Operators that only
make a view are left out. Per token: the difference of two lengths of answer, so that the prompt does not count. For a
trace: what it adds to the same generation in all.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import lvlmscope as lv
from benchmarks.trace_overhead import build, prompt
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell

__all__ = ["Counted", "count", "generation", "interventions", "per_token", "trace_cost"]

# Operators that wait for the device; also found by name in the source of decode steps (tests/contract)
SYNCS = frozenset(
    f"aten::{name}"
    for name in (
        "_local_scalar_dense",
        "nonzero",
        "is_nonzero",
        "equal",
        "unique_consecutive",
        "_unique2",
        "masked_select",
    )
)
READS = frozenset({"cpu", "numpy", "tolist"})
_VIEWS = """view t transpose expand unsqueeze slice select permute _unsafe_view alias detach as_strided split squeeze
unbind _reshape_alias chunk split_with_sizes unfold diagonal view_as_real lift_fresh"""
VIEWS = frozenset(f"aten::{name}" for name in _VIEWS.split())


class _Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


class _Reads(TorchFunctionMode):
    """Counts whole tensors that are read on the host, which no operator shows."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") in READS
        return func(*args, **(kwargs or {}))


class Counted(tuple[float, float, float]):
    """Kernels, host synchronisations and reads of whole tensors."""

    __slots__ = ()

    @property
    def kernels(self) -> float:
        """Operators that launch a kernel."""
        return self[0]

    @property
    def syncs(self) -> float:
        """Operators that wait for the device."""
        return self[1]

    @property
    def reads(self) -> float:
        """Calls of `tolist`, `cpu` and `numpy`, which wait for it too."""
        return self[2]


def count(run: Callable[[], Any]) -> Counted:
    """What a call launches in all.

    Args:
        run: The call.
    """
    with _Count() as counted, _Reads() as read:
        run()
    operators = counted.operators
    kernels = sum(number for name, number in operators.items() if name not in VIEWS)
    return Counted((kernels, sum(operators[name] for name in SYNCS), read.count))


def generation(model: Any, inputs: Mapping[str, Any], tokens: int) -> Callable[[], Any]:
    """Greedy decoding of exactly so many tokens.

    Args:
        model: A bare model.
        inputs: Its inputs.
        tokens: New tokens.
    """
    return lambda: model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)


def per_token(
    model: Any, inputs: Mapping[str, Any], stack: Sequence[Any] = (), *, short: int = 4, long: int = 12
) -> Counted:
    """What each decoded token launches, with interventions on.

    Args:
        model: A bare model.
        inputs: Its inputs.
        stack: Interventions.
        short: Tokens of the shorter answer.
        long: Tokens of the longer one.
    """
    found = []
    for tokens in (short, long):
        with lv.intervene(model, *stack) if stack else nullcontext():
            found.append(count(generation(model, inputs, tokens)))
    return Counted(tuple((more - less) / (long - short) for less, more in zip(*found, strict=True)))


def trace_cost(model: Any, inputs: Mapping[str, Any], tokens: int, **options: Any) -> Counted:
    """What a trace launches beyond the generation it is of, in all.

    Args:
        model: A bare model.
        inputs: Its inputs.
        tokens: New tokens.
        options: Of the trace, such as `gradients=True`.
    """
    settings: dict[str, Any] = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    plain = count(generation(model, inputs, tokens))
    traced = count(lambda: lv.trace_inputs(model, inputs, progress=False, **settings, **options))
    return Counted(tuple(more - less for less, more in zip(plain, traced, strict=True)))


def interventions() -> dict[str, tuple[Any, ...]]:
    """What is counted, by name."""
    rescaling = lv.HeadRescaling(tau_perc=0.3, tau_reas=0.1, l_perc=3, l_reas=4)
    return {
        "D-LEAF": (lv.DLEAF(gamma=0.5),),
        "CLVA": (lv.CLVA(),),
        "LocoRE": (lv.LocoRE(),),
        "head rescaling": (rescaling,),
        "HalluRNN": (lv.HalluRNN(cell=DepthCell(CellConfig(hidden_size=512))),),
        "SGRS, k=5": (lv.SGRS(k=5),),
        "D-LEAF + CLVA + LocoRE": (lv.DLEAF(gamma=0.5), lv.CLVA(), lv.LocoRE()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    model = build()
    torch.manual_seed(1)
    inputs = prompt()
    rows = {"plain generate": per_token(model, inputs)}
    rows |= {name: per_token(model, inputs, stack) for name, stack in interventions().items()}
    added = {
        "trace": trace_cost(model, inputs, 12),
        "trace, 24 tokens": trace_cost(model, inputs, 24),
        "trace with gradients": trace_cost(model, inputs, 12, gradients=True),
    }
    if options.json:
        sys.stdout.write(json.dumps({"per token": rows, "trace, in all": added}) + "\n")
        return
    plain = rows["plain generate"].kernels
    for name, row in rows.items():
        line = (
            f"{name:24} {row.kernels:8.1f} kernels {row.syncs:6.1f} syncs a token, {row.kernels / plain:5.2f} x plain\n"
        )
        sys.stdout.write(line)
    for name, row in added.items():
        sys.stdout.write(f"{name:24} {row.kernels:8.0f} kernels {row.syncs:6.0f} syncs beyond generate, in all\n")


if __name__ == "__main__":
    main()
