"""Saliency and its token scores: against slow twins, planted gradients, and bad input."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope.diagnostics import (
    attention_sinks,
    planted_trace,
    saliency,
    saliency_to_answer,
    saliency_to_image,
    saliency_to_previous,
)
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.trace import Trace
from tests.reference import saliency as twin
from tests.support.random_traces import blind, random_trace

SCORES = (saliency_to_previous, saliency_to_answer, saliency_to_image)


def slow(trace: Trace, **options) -> list:
    assert trace.gradient is not None
    return twin.rows(trace.attention.double().tolist(), trace.gradient.double().tolist(), **options)


@pytest.mark.parametrize("normalise", [True, False])
def test_saliency_equals_its_twin(normalise: bool) -> None:
    trace = random_trace(0)
    found = saliency(trace, normalise=normalise)
    np.testing.assert_allclose(found, slow(trace, normalise=normalise), atol=1e-6)
    assert found.dims == ("layer", "step", "key")
    assert found.attrs["units"] == ("1" if normalise else "nats")


def test_each_head_equals_its_twin() -> None:
    trace = random_trace(1)
    assert trace.gradient is not None
    expected = twin.each_head(trace.attention.double().tolist(), trace.gradient.double().tolist())
    found = saliency(trace, heads="each")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dims == ("layer", "head", "step", "key")


@pytest.mark.parametrize("layers", [None, [0, -1], (0.0, 0.6)])
def test_token_scores_equal_their_twins(layers) -> None:
    trace = random_trace(2)
    rows = slow(trace, normalise=True)
    expected = (
        twin.to_previous(rows, trace.prompt_length),
        twin.to_answer(rows, trace.prompt_length),
        twin.to_image(rows, trace.image_keys.tolist()),
    )
    for score, values in zip(SCORES, expected, strict=True):
        found = score(trace, layers=layers)
        places = {None: None, (0, -1): [0, 2], (0.0, 0.6): [0, 1]}[layers and tuple(layers)]
        chosen = np.array(values) if places is None else np.array(values)[places].mean(0)
        np.testing.assert_allclose(found, chosen, atol=1e-6)
        assert found.dims == (("layer", "step") if layers is None else ("step",))


def test_planted_gradients_are_found() -> None:
    assert (saliency(planted_trace(salient=7)).argmax("key") == 7).all()
    previous = planted_trace(salient="previous", steps=4)
    np.testing.assert_array_equal(saliency_to_previous(previous, layers=[1]), [np.nan, 1, 1, 1])
    np.testing.assert_allclose(saliency_to_answer(previous, layers=[1]), [np.nan, 1, 1 / 2, 1 / 3])
    assert (saliency_to_image(previous) == 0).all()
    assert (saliency_to_image(planted_trace(salient=3)) == 1).all()
    assert (saliency_to_previous(planted_trace(salient=3))[:, 1:] == 0).all()


def test_sinks_are_left_out_before_rows_are_normalised() -> None:
    trace = random_trace(3)
    weights = trace.attention.clone()
    weights[..., 0] = 50
    trace = dataclasses.replace(trace, attention=weights / weights.sum(-1, keepdim=True))
    found = saliency(trace, sinks="exclude")
    assert (found[..., 0] == 0).all()
    np.testing.assert_allclose(found, slow(trace, normalise=True, dropped=frozenset({0})), atol=1e-6)
    np.testing.assert_array_equal(found, saliency(trace, sinks=attention_sinks(trace)))
    assert float(saliency_to_image(trace, sinks="exclude").min()) > float(saliency_to_image(trace).max())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 4), layers=st.integers(1, 4), heads=st.integers(1, 4))
def test_values_stay_in_their_bounds(seed: int, steps: int, layers: int, heads: int) -> None:
    trace = random_trace(seed, steps=steps, layers=layers, heads=heads)
    for found in (saliency(trace), *(score(trace) for score in SCORES)):
        low, high = found.attrs["bounds"]
        assert float(found.min(skipna=True)) >= low or bool(found.isnull().all())
        assert not float(found.max(skipna=True)) > high + 1e-5
        assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(saliency(trace), axis=-1), 1, rtol=1e-5)


def test_scale_of_the_loss_does_not_matter() -> None:
    trace = random_trace(4)
    assert trace.gradient is not None
    scaled = dataclasses.replace(trace, gradient=trace.gradient * -8)
    np.testing.assert_allclose(saliency(scaled), saliency(trace), rtol=1e-6)


def test_degenerate_traces() -> None:
    silent = dataclasses.replace(planted_trace(), gradient=torch.zeros_like(planted_trace().attention))
    assert (saliency(silent) == 0).all()
    single = planted_trace(steps=1, layers=1, heads=1, salient="previous")
    assert np.isnan(saliency_to_previous(single)).all()
    assert np.isnan(saliency_to_answer(single)).all()
    assert saliency(single).shape == (1, 1, 18)
    broken = random_trace(5)
    assert broken.gradient is not None
    gradient = broken.gradient.clone()
    gradient[1, 2] = float("nan")
    rows = saliency(dataclasses.replace(broken, gradient=gradient))
    assert np.isnan(rows[2, 1]).all()
    assert not np.isnan(rows[:2]).any()


def test_half_precision_is_read_in_float32() -> None:
    trace = random_trace(6)
    assert trace.gradient is not None
    half = dataclasses.replace(trace, attention=trace.attention.bfloat16(), gradient=trace.gradient.bfloat16())
    found = saliency(half)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, saliency(trace), atol=0.02)


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input_is_refused() -> None:
    for signal in (saliency, *SCORES):
        with pytest.raises(ModelInputError, match=r"without gradient; .*pass gradients=True to lvlmscope.trace"):
            signal(planted_trace())
    trace = planted_trace(salient=1)
    with pytest.raises(ModelInputError, match="without image keys"):
        saliency_to_image(blind(trace))
    with pytest.raises(ModelInputError, match="ints from -2 to 1"):
        saliency_to_previous(trace, layers=[5])
    with pytest.raises(ModelInputError, match=r"layers \[0\] without attention; .* have it: \[1, 2\]"):
        saliency_to_previous(dataclasses.replace(trace, layer_indices=(1, 2)), layers=[0])
    hybrid = dataclasses.replace(random_trace(0, layers=2), layer_indices=(3, 7))  # a band takes the nearest layer
    for band, place in (((0.0, 0.1), 0), ((0.4, 0.6), 0), ((0.8, 0.9), 1)):
        near, all_layers = saliency_to_image(hybrid, layers=band), saliency_to_image(hybrid)
        np.testing.assert_array_equal(near, all_layers[place])
    with pytest.raises(ModelInputError, match="heads='all'"):
        saliency(trace, heads="all")
    with pytest.raises(ModelInputError, match="salient=99"):
        planted_trace(salient=99)
