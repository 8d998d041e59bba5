"""AttentionRows: image mass and distribution on planted rows."""

import math

import pytest
import torch

from lvlmscope.attention.attention_rows import AttentionRows, log_weights
from lvlmscope.errors import ShapeError

IMAGE = torch.tensor([False, True, True, True, True, False])


def test_uniform_rows_have_full_entropy() -> None:
    rows = AttentionRows(torch.full((2, 3, 6), 1 / 6), IMAGE)
    torch.testing.assert_close(rows.image_mass, torch.full((2, 3), 4 / 6))
    torch.testing.assert_close(rows.layer_image_entropy, torch.full((2,), math.log(4)))


def test_mass_on_one_patch_is_found_there() -> None:
    weights = torch.zeros(1, 2, 6)
    weights[..., 3] = 0.5
    weights[..., 0] = 0.5
    rows = AttentionRows(weights, IMAGE)
    assert rows.image_distribution.argmax(-1).tolist() == [[3, 3]]
    assert rows.layer_image_entropy.item() == 0.0


def test_a_row_that_ignores_the_image_has_no_distribution() -> None:
    weights = torch.zeros(1, 1, 6)
    weights[..., 0] = 1.0
    rows = AttentionRows(weights, IMAGE)
    assert rows.image_mass.item() == 0.0
    assert rows.layer_image_entropy.isnan().all()
    assert rows.image_distribution[..., 0].item() == 0.0


def test_no_image_gives_no_entropy() -> None:
    rows = AttentionRows(torch.full((1, 1, 6), 1 / 6), torch.zeros(6, dtype=torch.bool))
    assert not rows.has_image.any()
    assert rows.layer_image_entropy.isnan().all()


def test_each_sample_has_its_own_image_keys() -> None:
    keys = torch.stack([IMAGE, ~IMAGE])[:, None]
    rows = AttentionRows(torch.full((2, 1, 3, 6), 1 / 6), keys)
    torch.testing.assert_close(rows.image_mass[:, 0, 0], torch.tensor([4 / 6, 2 / 6]))


def test_half_precision_is_read_in_float32() -> None:
    assert AttentionRows(torch.full((1, 1, 6), 1 / 6, dtype=torch.bfloat16), IMAGE).image_mass.dtype == torch.float32


def test_key_axes_must_agree() -> None:
    with pytest.raises(ShapeError, match="key"):
        AttentionRows(torch.zeros(1, 1, 5), IMAGE)


def test_rows_of_a_trace_are_of_no_one_layer() -> None:
    assert AttentionRows(torch.full((1, 1, 6), 1 / 6), IMAGE, layer=0).own_layer == 0
    with pytest.raises(ShapeError, match="got rows of no one layer; expected: rows inside a model"):
        _ = AttentionRows(torch.full((1, 1, 6), 1 / 6), IMAGE).own_layer


def test_logarithms_of_weights_have_a_finite_slope_also_at_zero() -> None:
    weights = torch.tensor([0.0, 1e-30, 0.5, 1.0], requires_grad=True)
    logs = log_weights(weights)
    assert logs.tolist() == pytest.approx([-math.inf, math.log(1e-30), math.log(0.5), 0.0])
    logs[1:].sum().backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == pytest.approx([0.0, 1e30, 2.0, 1.0])
