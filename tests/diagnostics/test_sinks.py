"""Attention sinks: found where planted, and left out of every attention signal."""

import dataclasses

import numpy as np
import pytest
import torch

from lvlmscope.diagnostics import (
    attention_sinks,
    image_attention_focus,
    layer_image_entropy,
    planted_trace,
    visual_attention_ratio,
)
from lvlmscope.errors import ModelInputError, ShapeError
from lvlmscope.traces.trace import Trace
from tests.reference import attention_signals, sinks
from tests.support.random_traces import as_lists, random_trace


def with_sinks(seed: int) -> tuple[Trace, list[set[int]]]:
    """Random rows whose layers 0, 1, 2 have sinks at keys {0}, {0, 4} (a patch) and none."""
    trace = random_trace(seed, steps=4, side=5)
    planted: list[set[int]] = [{0}, {0, 4}, set()]
    weights = trace.attention.clone()
    for layer, keys in enumerate(planted):
        for key in keys:
            weights[:, layer, :, key] = 8
    return dataclasses.replace(trace, attention=weights / weights.sum(-1, keepdim=True)), planted


@pytest.mark.parametrize("multiple", [2.0, 4.0, 8.0])
def test_sinks_equal_their_twin(multiple: float) -> None:
    trace, _ = with_sinks(0)
    strength = np.array(sinks.strength(as_lists(trace)[0], trace.prompt_length))
    expected = (strength > multiple) & (np.arange(len(trace.tokens)) < trace.prompt_length)
    np.testing.assert_array_equal(attention_sinks(trace, multiple=multiple), expected)
    mean = np.broadcast_to(
        (strength.mean(0) > multiple) & (np.arange(len(trace.tokens)) < trace.prompt_length), (3, 30)
    )
    np.testing.assert_array_equal(attention_sinks(trace, multiple=multiple, per="model"), mean)


def test_windows_are_followed_when_visible_keys_are_counted() -> None:
    trace = planted_trace(sink=0.0, mass=0.0, steps=4, side=4)  # 18 prompt keys
    weights = trace.attention.clone()
    # Layer 0 sees all keys, layer 1 the last four: a fifth on key 17 is 4 times and 0.8 times its uniform share
    for step in range(4):
        keys = 18 + step
        weights[step, 0, :, :keys] = (1 - 0.2) / (keys - 1)
        weights[step, 1] = 0.0
        weights[step, 1, :, keys - 4 : keys] = (1 - 0.2) / 3
        weights[step, :, :, 17] = 0.2
    windowed = dataclasses.replace(trace, attention=weights)
    found = attention_sinks(windowed, multiple=2.0)
    assert [np.flatnonzero(row).tolist() for row in found.values] == [[17], []]
    strength = np.array(sinks.strength(as_lists(windowed)[0], 18))
    assert strength[1, 17] == pytest.approx(0.8)
    np.testing.assert_array_equal(attention_sinks(windowed, multiple=1.3), strength * (np.arange(21) < 18) > 1.3)


def test_planted_sinks_are_found() -> None:
    trace, planted = with_sinks(1)
    found = attention_sinks(trace)
    assert [set(np.flatnonzero(row)) for row in found.values] == planted
    assert found.dims == ("layer", "key")
    assert found.dtype == bool


def test_signals_without_sinks_equal_their_twins() -> None:
    trace, planted = with_sinks(2)
    rows = sinks.without(as_lists(trace)[0], planted)
    for layer, keys in enumerate(planted):
        image = [is_image and j not in keys for j, is_image in enumerate(trace.image_keys.tolist())]
        own = [[step[layer]] for step in rows]
        ratio = attention_signals.visual_attention_ratio(own, image, 0)
        focus = attention_signals.image_attention_focus(own, image, exclude_sink=False)
        np.testing.assert_allclose(visual_attention_ratio(trace, sinks="exclude")[[layer]], ratio, atol=1e-6)
        np.testing.assert_allclose(image_attention_focus(trace, sinks="exclude")[[layer]], focus, atol=1e-6)
        for mode in ("module", "head", "mass"):
            entropy = attention_signals.layer_image_entropy(own, image, mode)
            np.testing.assert_allclose(
                layer_image_entropy(trace, mode=mode, sinks="exclude")[[layer]], entropy, atol=1e-5
            )
        shares = np.array(attention_signals.layer_image_entropy(own, image, "module")) / np.log(sum(image))
        np.testing.assert_allclose(
            layer_image_entropy(trace, normalise=True, sinks="exclude")[[layer]], shares, atol=1e-5
        )


def test_key_0_and_found_sinks_agree_where_they_are_the_same() -> None:
    trace = planted_trace(sink=0.5, mass=0.25)
    by_rule = image_attention_focus(trace, sinks="first_key")
    assert by_rule.attrs["sinks"] == "first_key"
    np.testing.assert_allclose(by_rule, image_attention_focus(trace, sinks="exclude"))
    np.testing.assert_allclose(by_rule, 0.5)
    given = image_attention_focus(trace, sinks=attention_sinks(trace))
    np.testing.assert_allclose(given, by_rule)
    assert given.attrs["sinks"] == "given"


def test_degenerate_traces() -> None:
    all_equal = planted_trace(mass=16 / 18, sink=1 / 18, steps=1)
    assert not attention_sinks(all_equal).any()
    np.testing.assert_array_equal(visual_attention_ratio(all_equal, sinks="exclude"), visual_attention_ratio(all_equal))
    everything = planted_trace(mass=0.0, sink=1.0)
    assert np.isnan(visual_attention_ratio(everything, sinks="exclude")).all()
    assert np.isnan(layer_image_entropy(everything, sinks="exclude")).all()
    broken = dataclasses.replace(all_equal, attention=torch.full_like(all_equal.attention, float("nan")))
    assert not attention_sinks(broken).any()


def test_answer_keys_are_never_sinks() -> None:
    trace = planted_trace(steps=2, mass=0.0, sink=0.0)
    weights = torch.zeros_like(trace.attention)
    weights[0, ..., 0] = 1
    weights[1, ..., trace.prompt_length] = 1
    assert not attention_sinks(dataclasses.replace(trace, attention=weights)).sel(key=trace.prompt_length).any()


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input_is_refused() -> None:
    trace = planted_trace()
    cut = dataclasses.replace(trace, kept_keys="image_answer")
    for refused in (attention_sinks, lambda t: visual_attention_ratio(t, sinks="exclude")):
        with pytest.raises(ModelInputError, match=r"pass keep='all' to lvlmscope.trace"):
            refused(cut)
    with pytest.raises(ModelInputError, match=r"keep='all'"):
        image_attention_focus(cut, sinks="first_key")
    with pytest.raises(ModelInputError, match="multiple=1"):
        attention_sinks(trace, multiple=1.0)
    with pytest.raises(ModelInputError, match="per='head'"):
        attention_sinks(trace, per="head")
    with pytest.raises(ModelInputError, match="sinks='drop'"):
        layer_image_entropy(trace, sinks="drop")
    with pytest.raises(ModelInputError, match="sinks='exclude' with space='logit'"):
        image_attention_focus(random_trace(0), sinks="exclude", space="logit")
    with pytest.raises(ShapeError, match="take attention_sinks of this trace"):
        visual_attention_ratio(trace, sinks=attention_sinks(planted_trace(layers=1)))
