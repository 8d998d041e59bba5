"""Functional heads, uniform baselines and confidence: against slow twins, planted patterns, and bad input."""

import dataclasses

import numpy as np
import pytest
import torch

from lvlmscope.attention.functional_head_rule import PRESETS, HeadRule
from lvlmscope.diagnostics import (
    anchor_correlation,
    attention_sinks,
    confidence,
    functional_heads,
    image_attention_focus,
    layer_image_entropy,
    planted_trace,
    representation_drift,
    saliency,
    saliency_to_image,
    uniform_baseline,
    visual_attention_ratio,
)
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.trace import Trace
from tests.reference import attention_signals, over_depth
from tests.reference import functional_heads as heads_twin
from tests.support.random_traces import as_lists, blind, random_trace

NAMES = np.array(["other", "perception", "reasoning"])


def with_ratio(ratio: torch.Tensor) -> Trace:
    """A trace whose heads `[layer, head]` put these shares on the image."""
    trace = planted_trace(layers=ratio.shape[0], heads=ratio.shape[1])
    weights = torch.zeros_like(trace.attention)
    weights[..., 1:17] = ratio.unsqueeze(-1) / 16
    weights[..., 0] = 1 - ratio
    return dataclasses.replace(trace, attention=weights)


def classes(ratio: np.ndarray, **rule) -> np.ndarray:
    perception, reasoning = heads_twin.classes(ratio.tolist(), **rule)
    return NAMES[np.array(perception) + 2 * np.array(reasoning)]


@pytest.mark.parametrize("step", [0, 2, "mean"])
def test_functional_heads_equal_their_twin(step) -> None:
    trace = random_trace(0, layers=12, heads=6)
    ratio = np.array(attention_signals.visual_attention_ratio(*as_lists(trace), step))
    thresholds = heads_twin.thresholds(ratio.tolist(), 0.1, perception_until=0.26, reasoning_from=0.11)
    # Thresholds lie on a head's own value: read them from the library, whose last digits differ
    found = functional_heads(trace, share=0.1, step=step)
    for name, value in thresholds.items():
        assert found.attrs[name] == pytest.approx(value, rel=1e-5)
    slack = {"tau_perc": thresholds["tau_perc"] - 1e-6, "tau_reas": thresholds["tau_reas"] + 1e-6}
    np.testing.assert_array_equal(found, classes(ratio, **(thresholds | slack)))
    assert found.dims == ("layer", "head")
    assert found.attrs["share"] == pytest.approx(float((found != "other").mean()))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_class_planted_heads(preset: str) -> None:
    l_reas, tau_reas, _, l_perc, tau_perc, _ = heads_twin.TABLE[preset]
    ratio = torch.full((28, 5), 0.1)
    ratio[:, 1] = tau_perc + 0.01
    ratio[:, 3] = tau_reas - 0.005
    expected = np.full((28, 5), "other", dtype=object)
    expected[: l_perc + 1, 1] = "perception"
    expected[l_reas:, 3] = "reasoning"
    np.testing.assert_array_equal(functional_heads(with_ratio(ratio), preset=preset), expected)
    np.testing.assert_array_equal(functional_heads(with_ratio(ratio), rule=PRESETS[preset].rule), expected)


@pytest.mark.usefixtures("unchecked_shapes")
def test_functional_heads_refuse_what_they_cannot_class() -> None:
    trace = random_trace(1, layers=4)
    with pytest.raises(ModelInputError, match="without image keys"):
        functional_heads(blind(trace))
    with pytest.raises(ModelInputError, match=r"l_perc 7 and l_reas 3 for 4 layers; .*choose heads by share"):
        functional_heads(trace, preset="Ocean-R1-7B")
    with pytest.raises(ModelInputError, match="preset 'LLaVA'"):
        functional_heads(trace, preset="LLaVA")
    with pytest.raises(ModelInputError, match="leave one out"):
        functional_heads(trace, preset="Ocean-R1-7B", rule=HeadRule(l_perc=1, tau_perc=0.3, l_reas=1, tau_reas=0.1))
    with pytest.raises(ModelInputError, match="tau_reas below tau_perc"):
        functional_heads(planted_trace(layers=4))  # all heads alike
    with pytest.raises(ModelInputError, match="step=9"):
        functional_heads(trace, step=9)


@pytest.mark.parametrize("seed", range(3))
def test_uniform_baselines_equal_their_twins(seed: int) -> None:
    trace = random_trace(seed)
    row = over_depth.uniform(trace.prompt_length, len(trace.tokens), trace.num_steps)
    rows, image = [[[r] * 5] * 3 for r in row], trace.image_keys.tolist()
    ratio = uniform_baseline(trace, visual_attention_ratio, step=1)
    np.testing.assert_allclose(ratio, attention_signals.visual_attention_ratio(rows, image, 1), rtol=1e-5)
    focus = uniform_baseline(trace, image_attention_focus, sinks="first_key")
    np.testing.assert_allclose(
        focus, attention_signals.image_attention_focus(rows, image, exclude_sink=True), rtol=1e-5
    )
    entropy = uniform_baseline(trace, layer_image_entropy, mode="head")
    np.testing.assert_allclose(entropy, attention_signals.layer_image_entropy(rows, image, "head"), rtol=1e-5)
    assert ratio.attrs["attention"] == "uniform"
    assert ratio.attrs["units"] == visual_attention_ratio(trace).attrs["units"]


def test_uniform_baselines_of_other_signals() -> None:
    trace = random_trace(3, layers=8)
    assert trace.gradient is not None
    assert np.isnan(uniform_baseline(trace, anchor_correlation)).all()
    np.testing.assert_array_equal(uniform_baseline(trace, representation_drift), representation_drift(trace))
    slope = trace.gradient.abs().mean(2)
    expected = (slope / slope.norm(dim=-1, keepdim=True)).permute(1, 0, 2)
    np.testing.assert_allclose(uniform_baseline(trace, saliency), expected, atol=1e-6)
    assert (uniform_baseline(trace, image_attention_focus, space="logit") == 0).all()
    assert not attention_sinks(trace, multiple=1.01).equals(uniform_baseline(trace, attention_sinks, multiple=1.01))


def test_uniform_baseline_leaves_out_the_sinks_of_the_trace_and_keys_no_head_sees() -> None:
    trace = planted_trace(sink=0.8, mass=0.1, side=3, steps=1)
    assert float(uniform_baseline(trace, visual_attention_ratio)[0, 0]) == pytest.approx(9 / 11)
    assert float(uniform_baseline(trace, visual_attention_ratio, sinks="exclude")[0, 0]) == pytest.approx(9 / 10)
    weights = trace.attention.clone()
    weights[:, 1, :, :6] = 0  # a window
    windowed = dataclasses.replace(trace, attention=weights)
    np.testing.assert_allclose(uniform_baseline(windowed, visual_attention_ratio)[:, 0], [9 / 11, 4 / 5], rtol=1e-6)


def test_uniform_baseline_refuses_what_the_signal_refuses() -> None:
    with pytest.raises(ModelInputError, match="without image keys"):
        uniform_baseline(blind(planted_trace()), visual_attention_ratio)
    with pytest.raises(ModelInputError, match="gradients=True"):
        uniform_baseline(planted_trace(), saliency_to_image)
    with pytest.raises(ModelInputError, match="keep='all'"):
        uniform_baseline(dataclasses.replace(planted_trace(), kept_keys="image_answer"), visual_attention_ratio)


def test_confidence_is_the_traces_own() -> None:
    logits = torch.randn(3, 11, generator=torch.Generator().manual_seed(0)).double()
    logs = torch.log_softmax(logits, -1)
    two = logs.sort(-1, descending=True).values[:, :2]
    trace = dataclasses.replace(
        planted_trace(),
        log_probs=logs[:, 4].float(),
        entropy=-(logs.exp() * logs).sum(-1).float(),
        margin=(two[:, 0] - two[:, 1]).float(),
    )
    found = confidence(trace)
    assert found.dims == ("measure", "step")
    assert found.coords["measure"].values.tolist() == ["log_probability", "entropy", "margin"]
    np.testing.assert_array_equal(found.sel(measure="log_probability"), trace.log_probs)
    np.testing.assert_array_equal(found.sel(measure="entropy"), trace.entropy)
    np.testing.assert_array_equal(found.sel(measure="margin"), trace.margin)
    assert confidence(planted_trace(steps=1)).shape == (3, 1)
    assert confidence(blind(planted_trace())).attrs["units"] == "nats"
