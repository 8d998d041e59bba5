"""Heads, steps and layers without a value: they stay undefined where they are, and means leave them out."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lvlmscope.diagnostics import (
    attention_sinks,
    functional_heads,
    image_attention_focus,
    layer_correlation,
    layer_image_entropy,
    planted_trace,
    saliency_to_answer,
    saliency_to_image,
    sensitive_head_entropy,
    sensitive_heads,
    uniform_baseline,
    visual_attention_ratio,
)
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.requirements import at_step, decoder_depth
from lvlmscope.traces.trace import Trace
from tests.support.random_traces import random_trace

NAN = float("nan")


def without(trace: Trace, *where: tuple[object, ...]) -> Trace:
    """The trace with rows that are not defined, by step, layer, head."""
    weights = trace.attention.clone()
    for place in where:
        weights[place] = NAN
    return dataclasses.replace(trace, attention=weights)


def test_a_head_without_rows_is_missing_from_every_mean_over_heads() -> None:
    trace = random_trace(0, steps=3, layers=3, heads=4)
    broken = without(trace, (1, 2, 0))
    others = dataclasses.replace(
        trace,
        attention=trace.attention[:, :, 1:],
        gradient=None,
        image_scores=None,
    )
    focus, ratio = image_attention_focus(broken), visual_attention_ratio(broken, step=1)
    assert np.argwhere(np.isnan(focus.values)).tolist() == [[2, 0, 1]]
    assert np.argwhere(np.isnan(ratio.values)).tolist() == [[2, 0]]
    for signal, options in ((layer_image_entropy, {"mode": "head"}), (sensitive_head_entropy, {"fraction": 0.5})):
        found, whole = signal(broken, **options), signal(trace, **options)  # type: ignore[operator]
        assert not found.isnull().any()
        elsewhere = np.ones(found.shape, dtype=bool)
        elsewhere[2, 1] = False
        np.testing.assert_array_equal(found.values[elsewhere], whole.values[elsewhere])
    found = layer_image_entropy(broken, mode="head")[2, 1]
    assert float(found) == pytest.approx(float(layer_image_entropy(others, mode="head")[2, 1]), rel=1e-5)


def test_a_step_without_rows_is_missing_from_every_mean_over_steps() -> None:
    trace = random_trace(1, steps=3, layers=2, heads=4)
    broken = without(trace, (1,))
    rest = [0, 2]
    mean = visual_attention_ratio(broken, step="mean")
    np.testing.assert_allclose(mean, image_attention_focus(trace)[:, :, rest].mean("step"), rtol=1e-6)
    correlation = layer_correlation(broken)
    np.testing.assert_allclose(correlation, layer_correlation(trace, step="each")[rest].mean("step"), atol=1e-6)
    chosen = sensitive_heads(broken, step="each")
    assert chosen.sum("head").values.tolist() == [[1, 0, 1]] * 2
    np.testing.assert_array_equal(sensitive_heads(broken), _most(mean.values))
    classed = functional_heads(broken, step="mean", share=0.5)
    np.testing.assert_array_equal(classed, functional_heads(_mean_of(trace, rest), step="mean", share=0.5))


def _most(mean: np.ndarray) -> np.ndarray:
    found = np.zeros(mean.shape, dtype=bool)
    found[np.arange(len(mean)), mean.argmax(-1)] = True
    return found


def _mean_of(trace: Trace, steps: list[int]) -> Trace:
    """A trace whose every step is the mean of some of this one's."""
    return dataclasses.replace(trace, attention=torch.stack([trace.attention[steps].mean(0)] * trace.num_steps))


def test_at_step_counts_from_either_end_and_means_leave_missing_steps_out() -> None:
    trace = planted_trace(steps=3)
    values = torch.tensor([[1.0, NAN], [3.0, NAN], [NAN, NAN]])
    mean = at_step(trace, values, "mean")
    assert mean[0] == 2.0
    assert mean[1].isnan()
    assert [at_step(trace, values, step)[0].item() for step in (0, 1, -2, -3)] == [1.0, 3.0, 3.0, 1.0]
    for step in (3, -4):
        with pytest.raises(ModelInputError, match="expected: a whole number from -3 to 2, or 'mean'"):
            at_step(trace, values, step)


@pytest.mark.parametrize("per", ["layer", "model"])
def test_a_key_of_exactly_the_multiple_is_no_sink(per: str) -> None:
    trace = planted_trace(steps=1, side=1, layers=2, heads=1)  # keys: first, patch, question
    weights = torch.tensor([0.75, 0.125, 0.125]).expand(1, 2, 1, 3).clone()
    exact = dataclasses.replace(trace, attention=weights)
    assert not attention_sinks(exact, multiple=2.25, per=per).any()  # type: ignore[arg-type]
    assert attention_sinks(exact, multiple=2.2499, per=per).values.tolist() == [[True, False, False]] * 2  # type: ignore[arg-type]


def test_the_models_mean_of_sinks_leaves_layers_out_that_do_not_see_the_key() -> None:
    trace = planted_trace(steps=1, side=1, layers=2, heads=1)
    weights = torch.tensor([[0.8, 0.1, 0.1], [0.0, 0.5, 0.5]]).view(1, 2, 1, 3)  # layer 1 has a window
    windowed = dataclasses.replace(trace, attention=weights)
    assert attention_sinks(windowed, multiple=2.0, per="model").values.tolist() == [[True, False, False]] * 2
    share = uniform_baseline(windowed, visual_attention_ratio)
    np.testing.assert_allclose(share[:, 0], [1 / 3, 1 / 2], rtol=1e-6)


def test_a_gradient_that_is_not_defined_stays_with_its_step_and_layer() -> None:
    trace = random_trace(2, steps=4, layers=3)
    assert trace.gradient is not None
    gradient = trace.gradient.clone()
    gradient[2, 1, 0, 3] = NAN  # of one key of one head
    broken = dataclasses.replace(trace, gradient=gradient)
    for score in (saliency_to_image, saliency_to_answer):
        found, whole = score(broken), score(trace)
        assert math.isnan(float(found[1, 2]))
        elsewhere = np.ones(found.shape, dtype=bool)
        elsewhere[1, 2] = False
        np.testing.assert_array_equal(found.values[elsewhere], whole.values[elsewhere])


def test_the_depth_counts_layers_that_have_no_rows() -> None:
    trace = random_trace(0, layers=2)
    assert decoder_depth(dataclasses.replace(trace, hidden_states=None, layer_indices=(1, 3))) == 4
    assert decoder_depth(dataclasses.replace(trace, layer_indices=(0, 1), hidden_states=torch.zeros(3, 7, 2))) == 6
    assert decoder_depth(dataclasses.replace(trace, layer_indices=(0, 8), hidden_states=torch.zeros(3, 7, 2))) == 9
