"""The image signals: against their slow twins, planted patterns, bounds, and bad input."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope.diagnostics import (
    attention_sinks,
    image_attention_focus,
    layer_image_entropy,
    planted_trace,
    sensitive_head_entropy,
    visual_attention_ratio,
)
from lvlmscope.errors import ModelInputError
from tests.reference import attention_signals as twin
from tests.support.random_traces import as_lists, blind, random_trace


@pytest.mark.parametrize("step", [0, 1, -1, "mean"])
def test_visual_attention_ratio_equals_its_twin(step: int | str) -> None:
    trace = random_trace(0)
    rows, image = as_lists(trace)
    found = visual_attention_ratio(trace, step=step)
    np.testing.assert_allclose(found, twin.visual_attention_ratio(rows, image, step), atol=1e-6)
    assert found.dims == ("layer", "head")
    assert found.attrs["step"] == step


@pytest.mark.parametrize("sinks", ["keep", "first_key"])
def test_image_attention_focus_equals_its_twin(sinks: str) -> None:
    trace = random_trace(1)
    found = image_attention_focus(trace, sinks=sinks)
    np.testing.assert_allclose(
        found, twin.image_attention_focus(*as_lists(trace), exclude_sink=sinks == "first_key"), atol=1e-6
    )
    assert found.dims == ("layer", "head", "step")


@pytest.mark.parametrize("mode", ["module", "head", "mass"])
@pytest.mark.parametrize("normalise", [False, True])
def test_layer_image_entropy_equals_its_twin(mode: str, normalise: bool) -> None:
    trace = random_trace(2)
    found = layer_image_entropy(trace, mode=mode, normalise=normalise)
    greatest = math.log(trace.num_heads if mode == "mass" else 9) if normalise else 1.0
    expected = np.array(twin.layer_image_entropy(*as_lists(trace), mode)) / greatest
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.attrs["units"] == ("1" if normalise else "nats")


def test_logit_focus_reads_the_scores() -> None:
    trace = random_trace(3)
    found = image_attention_focus(trace, space="logit")
    assert trace.image_scores is not None
    np.testing.assert_allclose(found, trace.image_scores.permute(1, 2, 0))
    assert found.attrs["bounds"] == (-math.inf, math.inf)
    assert found.attrs["units"] == "score"


def test_planted_mass_is_found() -> None:
    trace = planted_trace(mass=0.3, patch=7)
    assert trace.attention[..., trace.image_keys].argmax(-1).unique().tolist() == [7]
    np.testing.assert_allclose(visual_attention_ratio(trace), 0.3, rtol=1e-6)
    np.testing.assert_allclose(layer_image_entropy(trace), 0.0, atol=1e-6)
    np.testing.assert_allclose(layer_image_entropy(planted_trace(side=8)), math.log(64), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 4), heads=st.integers(2, 6), side=st.integers(2, 5))
def test_signals_stay_in_their_bounds(seed: int, steps: int, heads: int, side: int) -> None:
    trace = random_trace(seed, steps=steps, heads=heads, side=side)
    for signal in (visual_attention_ratio(trace), image_attention_focus(trace), layer_image_entropy(trace)):
        low, high = signal.attrs["bounds"]
        assert float(signal.min()) >= low - 1e-6
        assert float(signal.max()) <= high + 1e-6
        assert signal.dtype == np.float32


def test_an_image_of_sinks_alone_has_no_entropy() -> None:
    trace = planted_trace()
    sinks = xr.ones_like(attention_sinks(trace))
    for found in (layer_image_entropy(trace, sinks=sinks), sensitive_head_entropy(trace, sinks=sinks)):
        assert found.isnull().all()
        assert found.attrs["bounds"] == (0.0, 0.0)


def test_entropy_ignores_how_much_is_on_the_image() -> None:
    np.testing.assert_allclose(
        layer_image_entropy(planted_trace(mass=0.01)), layer_image_entropy(planted_trace(mass=0.7)), rtol=1e-5
    )


def test_degenerate_rows_give_nan_not_numbers() -> None:
    nothing = planted_trace(mass=0.0, sink=1.0)
    assert np.isnan(layer_image_entropy(nothing)).all()
    assert np.isnan(image_attention_focus(nothing, sinks="first_key")).all()
    assert (visual_attention_ratio(nothing) == 0).all()
    one = planted_trace(steps=1, layers=1, heads=1)
    assert visual_attention_ratio(one).shape == (1, 1)


def test_coordinates_name_words_and_layers() -> None:
    focus = image_attention_focus(planted_trace())
    assert focus.coords["token"].values.tolist() == [" word0", " word1", " word2"]
    assert focus.coords["layer"].values.tolist() == [0, 1]


def test_bad_input_is_refused() -> None:
    trace = planted_trace()
    without = blind(trace)
    for signal in (visual_attention_ratio, image_attention_focus, layer_image_entropy):
        with pytest.raises(ModelInputError, match="a trace without image keys"):
            signal(without)
    with pytest.raises(ModelInputError, match="step=3"):
        visual_attention_ratio(trace, step=3)
    with pytest.raises(ModelInputError, match="without image scores"):
        image_attention_focus(trace, space="logit")
    with pytest.raises(ModelInputError, match="sinks='first_key' with space='logit'"):
        image_attention_focus(trace, sinks="first_key", space="logit")
    with pytest.raises(ModelInputError, match="normalise=True over 1"):
        layer_image_entropy(planted_trace(heads=1), mode="mass", normalise=True)
    with pytest.raises(ModelInputError, match="sum to at most 1"):
        planted_trace(mass=0.9, sink=0.2)
