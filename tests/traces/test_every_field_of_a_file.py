"""Every field of a trace comes back from its file, and each side of a comparison stays where it was."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lvlmscope as lv
from lvlmscope.tiny import scene
from lvlmscope.traces.trace import Trace
from tests.support.varied_traces import varied_trace


@pytest.fixture(scope="module")
def full() -> Trace:
    """A trace that holds something in every field."""
    made = lv.trace(
        lv.load("tiny", check=False), scene("neutral", 0).image, "Describe the image.", gradients=True,
        hidden_states=True, interventions=[lv.LocoRE()], do_sample=True, temperature=1.5, seed=2, max_new_tokens=4,
        progress=False,
    )  # fmt: skip
    assert isinstance(made, Trace)
    # As interventions that mix logits leave them
    mixed = {"mixed_log_probs": made.log_probs - 0.5, "mixed_top_ids": made.top_ids + 1}
    return replace(made, **mixed, mixed_top_log_probs=made.top_log_probs - 0.25)


def require_equal(one: Any, other: Any, name: str) -> None:
    assert type(one) is type(other), name
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        assert torch.equal(one, other), name
    elif isinstance(one, Image.Image):
        assert np.array_equal(np.asarray(one), np.asarray(other)), name
    elif isinstance(one, tuple):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            require_equal(a, b, f"{name}[{number}]")
    else:
        assert one == other, name


def test_every_field_holds_something_that_comes_back(full: Trace, tmp_path: Path) -> None:
    full.save(tmp_path / "t.safetensors")
    back = Trace.load(tmp_path / "t.safetensors")
    for each in fields(Trace):
        value = getattr(full, each.name)
        assert value is not None, each.name
        assert not isinstance(value, str | tuple | Mapping) or len(value), each.name
        require_equal(value, getattr(back, each.name), each.name)


def test_no_two_axes_or_fields_are_alike(full: Trace) -> None:
    steps, layers, heads, keys = full.attention.shape
    assert len({steps, layers, heads, keys}) >= 3  # an exchanged pair would be seen
    assert not torch.equal(full.attention, full.gradient)
    assert not torch.equal(full.log_probs, full.mixed_log_probs)
    assert not torch.equal(full.top_log_probs, full.mixed_top_log_probs)


def test_parts_of_a_file_are_the_parts_asked_for(full: Trace, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    full.save(path)
    for layer, step in ((0, 1), (2, 3)):
        found = lv.read_attention(path, layer=layer, step=step)
        assert np.array_equal(found.values.squeeze(), full.attention[step, layer].numpy())
        slopes = lv.read_attention(path, layer=layer, step=step, gradient=True)
        assert np.array_equal(slopes.values.squeeze(), full.gradient[step, layer].numpy())


@pytest.mark.parametrize(("height", "exact"), [(1000, True), (1001, False)])
def test_an_image_of_a_million_pixels_keeps_every_bit_and_a_larger_one_nearly(
    height: int, exact: bool, tmp_path: Path
) -> None:
    ramp = np.add.outer(np.arange(height), np.arange(1000))
    image = Image.fromarray(np.stack([ramp % 256, ramp // 8 % 256, ramp * 0], -1).astype(np.uint8))
    replace(varied_trace(), images=(image, image.resize((9, 7)))).save(tmp_path / "t.safetensors")
    large, small = Trace.load(tmp_path / "t.safetensors").images
    assert (large.size, small.size) == ((1000, height), (9, 7))
    assert (large.tobytes() == image.tobytes()) is exact
    assert np.abs(np.asarray(large).astype(int) - np.asarray(image)).mean() < 3
    assert small.tobytes() == image.resize((9, 7)).tobytes()


def test_before_and_after_are_not_exchanged() -> None:
    before = varied_trace(seed=1, steps=3)
    less = before.attention.where(before.image_keys.logical_not(), before.attention / 2)
    after = replace(before, attention=less, answer_tokens=("x", " y", " z"), answer_ids=before.answer_ids + 1)
    there, back = lv.effect(before, after), lv.effect(after, before)
    assert (there.before_word, there.after_word) == (before.answer_tokens[0], "x")
    assert (back.before_word, back.after_word) == ("x", before.answer_tokens[0])
    assert there.image_mass_before == back.image_mass_after == pytest.approx(2 * there.image_mass_after)
