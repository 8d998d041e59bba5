"""What holds for every signal: labels, bounds, degenerate traces, half precision, cut keys, and two unlike decoders."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from lvlmscope import diagnostics
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.random_traces import blind, random_trace
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs

SIGNALS: dict[str, Callable[[Trace], xr.DataArray]] = {
    name: getattr(diagnostics, name)
    for name in diagnostics.__all__
    # those that take more than a trace have tests of their own
    if name not in {"planted_trace", "uniform_baseline", "internal_confidence", "logit_lens"}
}
SIGNALS["uniform_baseline"] = partial(diagnostics.uniform_baseline, signal=diagnostics.image_attention_focus)
WITHOUT_IMAGE = {"attention_sinks", "confidence", "representation_drift", "saliency"}
WITHOUT_IMAGE |= {"saliency_to_answer", "saliency_to_previous"}
ALL_KEYS = {"attention_sinks", "uniform_baseline"}
every = pytest.mark.parametrize("name", sorted(SIGNALS))


@pytest.fixture(scope="module")
def decoders() -> list[Trace]:
    """Layers that see no image key beside layers that see nothing else; windows; layers without attention."""
    traces = []
    for build in (FAMILIES["mllama"], FAMILIES["gemma3"], OTHERS["lfm2_vl"]):
        case = build(1)
        options: dict[str, Any] = {"max_new_tokens": 4, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
        traces.append(
            from_inputs(case.model, case.inputs, **options, gradients=True, hidden_states=True, progress=False)
        )
    return traces


def check(found: xr.DataArray, trace: Trace) -> None:
    assert {"long_name", "units", "bounds", "reference"} <= set(found.attrs)
    assert set(found.dims) <= {"step", "layer", "other_layer", "head", "key", "anchor", "measure"}
    assert set(found.dims) <= set(found.coords)
    assert found.dtype in (np.float32, bool) or found.dtype.kind == "U"
    if "step" in found.dims:
        assert found.coords["token"].values.tolist() == list(trace.answer_tokens)
    if "layer" in found.dims and found.name is not None and "drift" not in str(found.name):
        assert found.coords["layer"].values.tolist() == list(trace.layer_indices)
    if found.dtype == np.float32:
        low, high = found.attrs["bounds"]
        values = found.values[np.isfinite(found.values)]
        assert (values >= low - 1e-5).all()
        assert (values <= high + 1e-3).all()


@every
def test_netcdf_takes_every_signal(name: str, tmp_path: Path) -> None:
    trace = random_trace(4, steps=3, layers=4, heads=4)
    found = SIGNALS[name](trace)
    found.to_netcdf(tmp_path / "signal.nc", engine="scipy")
    with xr.open_dataarray(tmp_path / "signal.nc", engine="scipy") as read:
        np.testing.assert_array_equal(read.values.astype(found.dtype), found.values)
        assert set(read.attrs) >= set(found.attrs)
        assert tuple(read.attrs["bounds"]) == pytest.approx(found.attrs["bounds"])
        assert read.dims == found.dims


def test_netcdf_takes_a_trace(tmp_path: Path) -> None:
    trace = random_trace(4)
    trace.to_xarray().to_netcdf(tmp_path / "trace.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "trace.nc", engine="scipy") as read:
        np.testing.assert_array_equal(read["attention"], trace.attention)
        assert read.attrs["answer"] == trace.answer
        assert read["token"].values.tolist() == list(trace.answer_tokens)


@every
def test_labels_and_bounds_on_unlike_decoders(name: str, decoders: list[Trace]) -> None:
    for trace in decoders:
        if name != "functional_heads":
            check(SIGNALS[name](trace), trace)
    if name == "functional_heads":
        crossing, windowed, hybrid = decoders
        for trace in (windowed, hybrid):
            check(SIGNALS[name](trace), trace)
        with pytest.raises(ModelInputError, match="no visual attention ratio"):  # layer 0 does not see the image
            SIGNALS[name](crossing)
        found = diagnostics.functional_heads(hybrid)  # attention in layers 1 and 3 alone
        assert (found.attrs["l_perc"], found.attrs["l_reas"]) == (1, 3)


@every
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 2, 2), (3, 1, 2, 2), (2, 3, 1, 3), (2, 9, 4, 1)])
def test_small_traces(name: str, shape: tuple[int, int, int, int]) -> None:
    steps, layers, heads, side = shape
    trace = random_trace(1, steps=steps, layers=layers, heads=heads, side=side)
    if name == "functional_heads" and heads == 1:
        with pytest.raises(ModelInputError, match="tau_reas below tau_perc"):
            SIGNALS[name](trace)
    else:
        check(SIGNALS[name](trace), trace)


@every
def test_all_equal_attention(name: str) -> None:
    trace = random_trace(0, layers=8)
    visible = (trace.attention > 0).float()
    equal = dataclasses.replace(trace, attention=visible / visible.sum(-1, keepdim=True))
    if name == "functional_heads":
        with pytest.raises(ModelInputError, match="tau_reas below tau_perc"):
            SIGNALS[name](equal)
    else:
        check(SIGNALS[name](equal), equal)


@every
def test_nan_is_never_made_a_number(name: str) -> None:
    trace = random_trace(0, layers=4)
    assert trace.gradient is not None
    assert trace.hidden_states is not None
    nothing = dataclasses.replace(
        trace,
        attention=torch.full_like(trace.attention, float("nan")),
        gradient=torch.full_like(trace.gradient, float("nan")),
        hidden_states=torch.full_like(trace.hidden_states, float("nan")),
        log_probs=torch.full((3,), float("nan")),
        entropy=torch.full((3,), float("nan")),
        margin=torch.full((3,), float("nan")),
    )
    if name == "functional_heads":
        with pytest.raises(ModelInputError, match="no visual attention ratio"):
            SIGNALS[name](nothing)
        return
    found = SIGNALS[name](nothing)
    if name == "uniform_baseline":
        assert not found.isnull().any()  # it does not look at the weights
    elif found.dtype == bool:
        assert not found.any()
    else:
        assert found.isnull().all()


@every
def test_half_precision(name: str) -> None:
    trace = random_trace(2, layers=4)
    assert trace.gradient is not None
    half = dataclasses.replace(trace, attention=trace.attention.half(), gradient=trace.gradient.half())
    found, whole = SIGNALS[name](half), SIGNALS[name](trace)
    assert found.dtype == whole.dtype
    if found.dtype == np.float32:
        np.testing.assert_allclose(found, whole, atol=0.01)


@every
def test_what_lacks_is_named(name: str) -> None:
    trace = random_trace(3, layers=4)
    if name in WITHOUT_IMAGE:
        check(SIGNALS[name](blind(trace)), trace)
    else:
        with pytest.raises(ModelInputError, match="without image keys"):
            SIGNALS[name](blind(trace))
    if name in ALL_KEYS:
        with pytest.raises(ModelInputError, match=r"pass keep='all' to lvlmscope\.trace"):
            SIGNALS[name](dataclasses.replace(trace, kept_keys="image_answer"))
    if "saliency" in name:
        with pytest.raises(ModelInputError, match=r"pass gradients=True to lvlmscope\.trace"):
            SIGNALS[name](planted_trace())


def test_a_trace_of_image_and_answer_keys_gives_the_same_numbers() -> None:
    case = tiny_models.llava()
    options: dict[str, Any] = {"max_new_tokens": 4, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
    make = partial(from_inputs, case.model, case.inputs, **options, gradients=True, progress=False)
    whole, cut = make(), make(keep="image_answer")
    attention = [name for name in SIGNALS if name not in ALL_KEYS | {"representation_drift"} and "saliency" not in name]
    for name in attention:
        found, expected = SIGNALS[name](cut), SIGNALS[name](whole)
        if found.dtype == np.float32:
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=name)
    for name in ("saliency_to_previous", "saliency_to_answer", "saliency_to_image"):
        score = partial(getattr(diagnostics, name), normalise=False)  # norms are over the keys that are kept
        np.testing.assert_allclose(score(cut)[:, 2:], score(whole)[:, 2:], rtol=1e-5, err_msg=name)
