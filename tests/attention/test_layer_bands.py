"""Layers named by numbers and bands, in models whose layers all have attention and in those where some have none."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from lvlmscope.attention.layer_bands import DEEP, INITIAL, MIDDLE, resolve_layers
from lvlmscope.errors import ModelInputError

QWEN3_5 = tuple(range(3, 32, 4))  # every fourth layer attends, the others are recurrent


def test_a_band_counts_the_layers_with_attention() -> None:
    assert resolve_layers(None, 32, QWEN3_5) == QWEN3_5
    assert resolve_layers((0.0, 1.0), 32, QWEN3_5) == QWEN3_5
    # Of eight layers the bands are the first, the fourth and fifth, and the last three
    assert resolve_layers(INITIAL, 32, QWEN3_5) == (3,)
    assert resolve_layers(MIDDLE, 32, QWEN3_5) == (15, 19)
    assert resolve_layers(DEEP, 32, QWEN3_5) == (23, 27, 31)
    assert resolve_layers((0.3, 0.31), 32, QWEN3_5) == (11,)


def test_numbers_are_those_of_the_decoder() -> None:
    assert resolve_layers([3, -1], 32, QWEN3_5) == (3, 31)
    with pytest.raises(
        ModelInputError, match=r"middle \[0, 30\] without attention; expected: layers that have it: \[3, 7"
    ):
        resolve_layers([0, 3, -2], 32, QWEN3_5, name="middle")


@pytest.mark.parametrize("given", [np.array([1, 3]), torch.tensor([1, 3]), xr.DataArray([1, 3]), range(1, 4, 2)])
def test_whole_numbers_of_arrays_are_accepted(given: Any) -> None:
    assert resolve_layers(given, 4) == (1, 3)
    assert resolve_layers(list(given), 4) == (1, 3)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    "given",
    [
        3,
        "all",
        [],
        [True],
        [1, 0.5],
        [0, 0.5],
        [0.0, 1],
        ["1"],
        ["0", "0.5"],
        [0.5],
        [0.5, float("nan")],
        [4],
        0.5,
        [[1]],
    ],
)
def test_anything_else_is_refused_by_name(given: Any) -> None:
    with pytest.raises(ModelInputError, match=r"got deep[ =]"):
        resolve_layers(given, 4, name="deep")


@pytest.mark.parametrize("count", range(1, 13))
def test_neighbouring_bands_share_no_layer_and_leave_none_out(count: int) -> None:
    whole = tuple(range(count))
    assert resolve_layers((0.0, 1.0), count) == whole
    if count < 3:  # a band without a layer takes the nearest
        return
    for cut in (0.25, 1 / 3, 0.5, 0.75):
        assert resolve_layers((0.0, cut), count) + resolve_layers((cut, 1.0), count) == whole
    half = resolve_layers((0.0, 0.5), count)
    assert half[-1] / (count - 1) < 0.5 <= (half[-1] + 1) / (count - 1)


def test_layers_are_given_in_any_order_and_come_ascending_once() -> None:
    assert resolve_layers([-1, 2, 0, 2], 5) == (0, 2, 4)
    assert resolve_layers([-5], 5) == (0,)
    for outside in (-6, 5):
        with pytest.raises(ModelInputError, match=f"layers {outside}; expected: a list of ints from -5 to 4"):
            resolve_layers([outside], 5)
