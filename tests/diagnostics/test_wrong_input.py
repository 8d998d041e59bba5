"""Wrong input to any signal is refused by the name of its parameter, and whole numbers of any library are taken."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from lvlmscope import diagnostics
from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.errors import LvlmscopeError, ModelInputError
from lvlmscope.interventions import DLEAF
from lvlmscope.traces.trace import Trace
from tests.support.random_traces import random_trace

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

OTHERS = {"trace", "signal", "options", "model", "processor"}
OPTIONS = [
    (name, parameter)
    for name in diagnostics.__all__
    for parameter in inspect.signature(getattr(diagnostics, name)).parameters
    if parameter not in OTHERS
]
WRONG: list[Any] = [
    "x",
    b"x",
    1j,
    float("nan"),
    float("inf"),
    [[1]],
    {"a": 1},
    np.array([[1, 2]]),
    torch.ones(2),
    [True],
]
WHOLE = [np.int64(1), np.array(1), torch.tensor(1), xr.DataArray(1)]


@pytest.fixture(scope="module")
def trace() -> Trace:
    return random_trace(0, steps=4, layers=8, heads=4)


@pytest.mark.parametrize(("name", "parameter"), OPTIONS)
def test_an_option_of_another_kind_is_refused_by_name(trace: Trace, name: str, parameter: str) -> None:
    given = () if name == "planted_trace" else (trace,)
    for wrong in WRONG:
        with pytest.raises(LvlmscopeError, match=parameter):
            getattr(diagnostics, name)(*given, **{parameter: wrong})


@pytest.mark.parametrize(
    "name", sorted(set(diagnostics.__all__) - {"planted_trace", "internal_confidence", "logit_lens"})
)
@pytest.mark.parametrize("wrong", ["trace.safetensors", None, 3, xr.DataArray([1])])
def test_what_is_no_trace_is_refused(name: str, wrong: Any) -> None:
    signal = (diagnostics.saliency,) if name == "uniform_baseline" else ()
    with pytest.raises(ModelInputError, match="expected: a trace"):
        getattr(diagnostics, name)(wrong, *signal)


def test_flagged_heads_take_a_trace_and_a_rule(trace: Trace) -> None:
    with pytest.raises(ModelInputError, match=r"flag heads: got .*expected: a trace"):
        flagged_heads(3)  # type: ignore[arg-type]
    for wrong in (3, "min", {}, DLEAF()):
        with pytest.raises(ModelInputError, match=r"flag heads: got rule=.*EntropyRule"):
            flagged_heads(trace, wrong)  # type: ignore[arg-type]


def test_a_baseline_of_no_signal_is_refused(trace: Trace) -> None:
    with pytest.raises(ModelInputError, match="signal='saliency'"):
        diagnostics.uniform_baseline(trace, "saliency")  # type: ignore[arg-type]


@pytest.mark.parametrize("one", WHOLE, ids=lambda one: type(one).__module__.split(".")[0])
def test_whole_numbers_of_any_library_are_steps_and_layers(trace: Trace, one: Any) -> None:
    for name in ("visual_attention_ratio", "layer_correlation", "sensitive_heads", "functional_heads"):
        signal = getattr(diagnostics, name)
        np.testing.assert_array_equal(signal(trace, step=one), signal(trace, step=1))
    for layers in ([one, 3], (one, 3)):
        np.testing.assert_array_equal(
            diagnostics.saliency_to_answer(trace, layers=layers), diagnostics.saliency_to_answer(trace, layers=[1, 3])
        )


@pytest.mark.parametrize(
    "option", [{"patch": 16}, {"patch": -1}, {"steps": 0}, {"layers": 0}, {"heads": -1}, {"side": 0}, {"salient": 18}]
)
def test_a_planted_trace_has_one_of_everything(option: dict[str, int]) -> None:
    with pytest.raises(ModelInputError, match=f"{next(iter(option))}={next(iter(option.values()))}"):
        diagnostics.planted_trace(**option)
