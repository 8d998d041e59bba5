"""Anchors, layer correlation, sensitive heads and drift: against slow twins, planted patterns, and bad input."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope.diagnostics import (
    anchor_correlation,
    layer_correlation,
    planted_trace,
    representation_drift,
    sensitive_head_entropy,
    sensitive_heads,
)
from lvlmscope.diagnostics.anchor_drift import _pearson
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.trace import Trace
from tests.reference import over_depth as twin
from tests.support.random_traces import as_lists, blind, random_trace


def with_maps(maps: list[int], heads: int = 4) -> Trace:
    """Layers that each look at one patch, half of their attention; the first head looks most."""
    trace = planted_trace(layers=len(maps), heads=heads)
    weights = torch.zeros_like(trace.attention)
    mass = torch.linspace(0.6, 0.3, heads)
    for layer, patch in enumerate(maps):
        weights[:, layer, :, 1 + patch] = mass
    weights[..., 0] = 1 - weights.sum(-1)
    return dataclasses.replace(trace, attention=weights)


@pytest.fixture(params=[False, True], ids=["at once", "one by one"])
def _parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads are added and steps correlated in one part, as small traces are, and each by itself."""
    if request.param:
        for module in ("attention.sensitive_head_rule", "diagnostics.anchor_drift"):
            monkeypatch.setattr(f"lvlmscope.{module}._VALUES", 1)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize(("initial", "middle"), [([0, 1], [3, 4]), ((0.0, 0.4), (0.5, 0.7)), ([0], [2, 4])])
@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_anchor_correlation_equals_its_twin(initial, middle, fraction: float) -> None:
    trace = random_trace(0, layers=6, heads=4)
    numbers = {(0.0, 0.4): [0, 1], (0.5, 0.7): [3]}
    bands = {name: numbers.get(tuple(b), b) for name, b in (("initial", initial), ("middle", middle))}
    found = anchor_correlation(trace, initial=initial, middle=middle, fraction=fraction)
    expected = twin.anchor_correlation(*as_lists(trace), **bands, fraction=fraction)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dims == ("anchor", "layer", "step")
    assert found.coords["anchor"].values.tolist() == ["r_neg", "r_pos"]


@pytest.mark.usefixtures("_parts")
def test_layer_correlation_equals_its_twin() -> None:
    trace = random_trace(1, layers=4)
    expected = np.array(twin.layer_correlation(*as_lists(trace)))
    np.testing.assert_allclose(layer_correlation(trace, step="each"), expected, atol=1e-5)
    np.testing.assert_allclose(layer_correlation(trace), expected.mean(0), atol=1e-5)
    np.testing.assert_allclose(layer_correlation(trace, step=-1), expected[-1], atol=1e-5)
    assert layer_correlation(trace).dims == ("layer", "other_layer")


@pytest.mark.parametrize("which", ["sensitive", "insensitive"])
@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_sensitive_heads_equal_their_twin(which: str, fraction: float) -> None:
    trace = random_trace(2)
    expected = twin.sensitive_heads(*as_lists(trace), fraction, most=which == "sensitive")
    found = sensitive_heads(trace, step="each", which=which, fraction=fraction)
    np.testing.assert_array_equal(found, expected)
    assert found.dims == ("layer", "head", "step")
    assert found.dtype == bool
    first = sensitive_heads(trace, step=0, which=which, fraction=fraction)
    np.testing.assert_array_equal(first, np.array(expected)[..., 0])
    mean = trace.attention[..., trace.image_keys].sum(-1).mean(0)
    order = mean.argsort(-1, descending=which == "sensitive")[:, : int(5 * fraction)]
    by_mean = torch.zeros(3, 5, dtype=torch.bool).scatter(-1, order, value=True)
    np.testing.assert_array_equal(sensitive_heads(trace, which=which, fraction=fraction), by_mean)


def test_sensitive_head_entropy_equals_its_twin() -> None:
    trace = random_trace(3)
    expected = np.array(twin.sensitive_head_entropy(*as_lists(trace), 0.4))
    np.testing.assert_allclose(sensitive_head_entropy(trace, fraction=0.4), expected, atol=1e-5)
    shares = sensitive_head_entropy(trace, fraction=0.4, normalise=True)
    np.testing.assert_allclose(shares, expected / math.log(9), atol=1e-5)
    assert shares.attrs["units"] == "1"


@pytest.mark.parametrize("measure", ["cosine", "relative"])
def test_drift_equals_its_twin(measure: str) -> None:
    trace = random_trace(4)
    assert trace.hidden_states is not None
    found = representation_drift(trace, measure=measure)
    np.testing.assert_allclose(found, twin.drift(trace.hidden_states.double().tolist(), measure), atol=1e-6)
    assert found.dims == ("layer", "step")
    half = dataclasses.replace(trace, hidden_states=trace.hidden_states.bfloat16())
    np.testing.assert_allclose(representation_drift(half, measure=measure), found, atol=0.03)


def test_planted_depth_is_found() -> None:
    """Noise at patch 0 in layers 0, 1 and 7; the anchor at patch 9 in 3 and 4."""
    found = anchor_correlation(with_maps([0, 0, 5, 9, 9, 5, 9, 0]), initial=[0, 1], middle=[3, 4])
    negative, positive = found[:, :, 0]
    np.testing.assert_allclose(negative[[0, 1, 7]], 1, atol=1e-6)
    np.testing.assert_allclose(positive[[3, 4, 6]], 1, atol=1e-6)
    assert (negative[2:7] < 0).all()
    assert (positive[[0, 1, 2, 5, 7]] < 0).all()
    matrix = layer_correlation(with_maps([0, 0, 5]))
    np.testing.assert_allclose(matrix, [[1, 1, -1 / 15], [1, 1, -1 / 15], [-1 / 15, -1 / 15, 1]], atol=1e-6)
    heads = sensitive_heads(with_maps([3, 3], heads=8))
    assert heads.values.tolist() == [[True, True] + [False] * 6] * 2
    np.testing.assert_allclose(sensitive_head_entropy(planted_trace(patch=2)), 0, atol=1e-6)
    np.testing.assert_allclose(representation_drift(planted_trace(turn=math.pi / 3)), 0.5, rtol=1e-5)
    np.testing.assert_allclose(representation_drift(planted_trace(turn=math.pi / 3), measure="relative"), 1, rtol=1e-5)


def test_a_sink_on_the_image_correlates_layers_and_can_be_left_out() -> None:
    trace = with_maps([1, 2, 3])
    weights = trace.attention.clone()
    weights[..., 0] = 0
    weights[..., 16] = 2.0  # patch 15 draws two thirds of everything in every layer
    trace = dataclasses.replace(trace, attention=weights / weights.sum(-1, keepdim=True))
    off_diagonal = ~np.eye(3, dtype=bool)
    assert (layer_correlation(trace).values[off_diagonal] > 0.9).all()
    assert (layer_correlation(trace, sinks="exclude").values[off_diagonal] < 0).all()
    bands = {"initial": [0, 1], "middle": [1, 2]}
    assert float(anchor_correlation(trace, **bands).min()) > 0.9
    assert float(anchor_correlation(trace, **bands, sinks="exclude").max()) < 0
    assert (sensitive_head_entropy(trace, sinks="exclude") < 1e-6).all()
    assert (sensitive_head_entropy(trace) > 0.1).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 3), layers=st.integers(1, 9), heads=st.integers(1, 6))
def test_values_stay_in_their_bounds(seed: int, steps: int, layers: int, heads: int) -> None:
    trace = random_trace(seed, steps=steps, layers=layers, heads=heads)
    signals = (
        anchor_correlation(trace),
        layer_correlation(trace),
        sensitive_head_entropy(trace),
        representation_drift(trace),
        representation_drift(trace, measure="relative"),
    )
    for found in signals:
        low, high = found.attrs["bounds"]
        values = found.values[np.isfinite(found.values)]
        assert (values >= low - 1e-6).all()
        assert (values <= high + 1e-5).all()
        assert found.dtype == np.float32
    matrix = layer_correlation(trace)
    np.testing.assert_allclose(matrix, matrix.values.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-6)
    assert (sensitive_heads(trace).sum("head") == max(1, heads // 4)).all()


def test_constant_maps_give_nan_never_0() -> None:
    flat = planted_trace(layers=8)
    assert np.isnan(anchor_correlation(flat)).all()
    assert np.isnan(layer_correlation(flat)).all()
    one_patch = random_trace(0, side=1, layers=8)
    assert np.isnan(anchor_correlation(one_patch)).all()
    single = random_trace(0, layers=1, heads=1, steps=1)
    assert np.isnan(anchor_correlation(single)).all()  # both anchors hold the layer only
    assert layer_correlation(single).values.tolist() == [[1.0]]
    unseen = planted_trace(mass=0.0, sink=0.5, layers=8)
    assert np.isnan(anchor_correlation(unseen)).all()
    assert np.isnan(sensitive_head_entropy(unseen)).all()


def test_nan_stays_where_it_is() -> None:
    trace = random_trace(5, layers=6)
    weights = trace.attention.clone()
    weights[0, 5] = float("nan")
    broken = dataclasses.replace(trace, attention=weights)
    found = anchor_correlation(broken, initial=[0, 1], middle=[2, 3])
    assert np.isnan(found[:, 5, 0]).all()
    whole = anchor_correlation(trace, initial=[0, 1], middle=[2, 3])
    np.testing.assert_array_equal(found[:, :5], whole[:, :5])
    assert not sensitive_heads(broken, step=0)[5].any()
    assert trace.hidden_states is not None
    still = dataclasses.replace(trace, hidden_states=torch.zeros_like(trace.hidden_states))
    for measure in ("cosine", "relative"):
        assert np.isnan(representation_drift(still, measure=measure)).all()


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input_is_refused() -> None:
    trace = random_trace(6, layers=4)
    for signal in (anchor_correlation, layer_correlation, sensitive_heads, sensitive_head_entropy):
        with pytest.raises(ModelInputError, match="without image keys"):
            signal(blind(trace))
    for signal in (anchor_correlation, sensitive_heads, sensitive_head_entropy):
        with pytest.raises(ModelInputError, match=r"fraction=0.6; expected: a number above 0, up to 0.5"):
            signal(trace, fraction=0.6)
    with pytest.raises(ModelInputError, match="ints from -4 to 3"):
        anchor_correlation(trace, middle=[9])
    for signal in (layer_correlation, sensitive_heads):
        with pytest.raises(ModelInputError, match="step=7"):
            signal(trace, step=7)
    with pytest.raises(ModelInputError, match="which='best'"):
        sensitive_heads(trace, which="best")
    with pytest.raises(ModelInputError, match="normalise=True over 1 image key"):
        sensitive_head_entropy(random_trace(0, side=1), normalise=True)
    with pytest.raises(ModelInputError, match=r"pass hidden_states=True to lvlmscope\.trace"):
        representation_drift(planted_trace())
    with pytest.raises(ModelInputError, match="measure='euclid'"):
        representation_drift(trace, measure="euclid")


def test_a_spread_is_compared_with_the_mean_that_it_is_of() -> None:
    wave = torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    nearly, rounding = 0.01 + 1e-7 * wave, 0.01 + 1e-9 * wave
    assert _pearson(nearly, nearly).item() == pytest.approx(1.0)
    assert _pearson(rounding, rounding).isnan().all()
