"""Kernels launched and host synchronisations per decoded token: exact on any machine, however busy.

On an accelerator a decode step takes about as long as its kernels take to launch, so their number tells what an
intervention costs there. Operators that only make a view are left out. Per token: the difference of two lengths of
answer, so that the prompt does not count. For a trace: what it adds to the same generation in all.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import lvlmscope as lv
from benchmarks.edits import interventions
from benchmarks.shapes import SHAPES
from benchmarks.tables import Plan, Table
from benchmarks.traces import settings

__all__ = ["Counted", "count", "generation", "measure", "per_token", "trace_cost"]

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
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
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
    return lambda: model.generate(**inputs, **settings(tokens))


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
    plain = count(generation(model, inputs, tokens))
    traced = count(lambda: lv.trace_inputs(model, inputs, progress=False, **settings(tokens), **options))
    return Counted(tuple(more - less for less, more in zip(plain, traced, strict=True)))


def measure(plan: Plan) -> Table:
    """Kernels and synchronisations.

    Args:
        plan: What to run.
    """
    prepared = plan.prepared(plan.shapes[0])
    model, inputs = prepared.model, prepared.inputs
    plain = per_token(model, inputs)
    found = {"generate": plain} | {
        name: per_token(model, inputs, stack) for name, stack in interventions(model).items()
    }
    rows = [_row(f"{name}, a token", each) | {"ratio": each.kernels / plain.kernels} for name, each in found.items()]
    traced: dict[str, tuple[int, dict[str, Any]]] = {
        "trace of 12 tokens, beyond its generate": (12, {}),
        "trace of 24 tokens": (24, {}),
        "trace(gradients=True) of 12 tokens": (12, {"gradients": True}),
    }
    rows += [_row(name, trace_cost(model, inputs, tokens, **options)) for name, (tokens, options) in traced.items()]
    return Table(
        title="Kernels and synchronisations, counted",
        about=f"{SHAPES[prepared.name].about}. Operators that only make a view are left out; some that an accelerator "
        "fuses are several kernels on the CPU. A read is a call of `tolist`, `cpu` or `numpy`; it waits, too.",
        columns={"run": "text", "kernels": "count", "ratio": "x", "syncs": "count", "reads": "count"},
        rows=rows,
    )


def _row(name: str, found: Counted) -> dict[str, Any]:
    return {"run": name, "kernels": found.kernels, "syncs": found.syncs, "reads": found.reads}
