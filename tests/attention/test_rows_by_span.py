"""Rows whose image keys are one block are read by slices: the same numbers as by the mask, missing values included."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.image_layout import ImageLayout, after_last
from lvlmscope.attention.sensitive_head_rule import extreme_heads, gathered_distribution

READ = (
    *("image_mass", "image_scores", "image_weights", "image_distribution", "layer_image_distribution"),
    *("layer_image_entropy", "head_image_entropy", "sees_image"),
)


def both_ways(weights: torch.Tensor, span: tuple[int, int], *, hides: bool) -> tuple[AttentionRows, AttentionRows]:
    """Rows read by the mask and by the block."""
    keys = torch.arange(weights.shape[-1])
    image = (keys >= span[0]) & (keys < span[1])
    visible = keys <= span[0] + torch.arange(weights.shape[0]).unsqueeze(-1) if hides else None
    scores = weights.clamp_min(1e-9).log() * 3 + keys
    if visible is not None:
        scores = scores.masked_fill(~visible.unsqueeze(1), float("-inf"))
    given = {"visible_keys": visible, "scores": lambda: scores}
    masked = AttentionRows(weights, image, **given)  # type: ignore[arg-type]
    return masked, AttentionRows(weights, image, image_span=span, sees_all_keys=not hides, **given)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), first=st.integers(0, 4), count=st.integers(1, 4), hides=st.booleans(), odd=st.booleans()
)
def test_a_block_is_read_as_its_mask(seed: int, first: int, count: int, hides: bool, odd: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(3, 4, 8, generator=generator) ** 2
    if odd:
        weights[0, 1] = float("nan")  # a head
        weights[1, 2, first : first + count] = 0.0  # a head that does not look
        weights[2, :, first : first + count] = 0.0  # a row that does not
    masked, block = both_ways(weights, (first, first + count), hides=hides)
    for name in READ:
        torch.testing.assert_close(
            getattr(block, name), getattr(masked, name), equal_nan=True, msg=lambda told, n=name: f"{n}: {told}"
        )
    for most in (True, False):
        ways = [gathered_distribution(rows, 0.5, most=most) for rows in (block, masked)]
        torch.testing.assert_close(*ways, equal_nan=True)


def test_scores_that_a_row_may_not_see_are_not_summed() -> None:
    masked, block = both_ways(torch.full((2, 1, 4), 0.25), (1, 3), hides=True)
    one = math.log(0.25) * 3 + 1
    for rows in (masked, block):
        assert rows.image_scores[:, 0].tolist() == pytest.approx([one, 2 * one + 1], rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "present", "span"),
    [
        ([[0, 1, 1, 0]], True, (1, 3)),
        ([[1, 1, 1, 1]], True, (0, 4)),
        ([[0, 0, 0, 1]], True, (3, 4)),
        ([[0, 1, 0, 1]], True, None),
        ([[0, 1, 1, 0], [0, 1, 1, 0]], True, (1, 3)),
        ([[0, 1, 1, 0], [0, 0, 1, 1]], True, None),
        ([[0, 0, 0, 0], [0, 1, 0, 0]], True, None),
        ([[0, 0, 0, 0]], False, (0, 0)),
    ],
)
def test_a_block_is_one_only_where_all_rows_have_it(rows: list[list[int]], present: bool, span: object) -> None:
    found = ImageLayout.of(torch.tensor(rows, dtype=torch.bool))
    assert (found.present, found.span) == (present, span)


def test_a_window_keeps_the_end_of_a_block_and_spare_keys_come_last() -> None:
    layout = ImageLayout(present=True, span=(2, 5))
    assert [layout.span_on(8, keys) for keys in (10, 8, 6, 5, 4, 3, 2)] == [
        *((2, 5), (2, 5), (0, 3), (0, 2), (0, 1), (0, 0), (0, 0)),
    ]
    assert ImageLayout(present=True, span=None).span_on(8, 4) is None


def test_positions_after_the_last_image_key_of_each_row() -> None:
    keys = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    assert after_last(keys).tolist() == [[False] * 3 + [True] * 2, [False] * 5, [True] * 5]


def test_heads_of_unknown_mass_are_neither_the_most_nor_the_least() -> None:
    nan = float("nan")
    mass = torch.tensor([[nan, 0.4, 0.1, 0.3], [0.2, nan, nan, 0.5], [nan, nan, nan, 0.1], [nan] * 4])
    most = [row.nonzero().flatten().tolist() for row in extreme_heads(mass, 0.5, most=True)]
    least = [row.nonzero().flatten().tolist() for row in extreme_heads(mass, 0.5, most=False)]
    assert most == [[1, 3], [0, 3], [3], []]
    assert least == [[2, 3], [0, 3], [3], []]


def test_of_equal_heads_as_many_are_chosen_as_the_share_says() -> None:
    mass = torch.full((2, 8), 0.25)
    for most in (True, False):
        assert extreme_heads(mass, 0.25, most=most).sum(-1).tolist() == [2, 2]
        assert extreme_heads(mass, 0.1, most=most).sum(-1).tolist() == [1, 1]  # at least one
    both = torch.tensor([0.0, 0.0, 0.3, 0.3])
    assert extreme_heads(both, 0.5, most=True).tolist() == [False, False, True, True]
    assert extreme_heads(both, 0.5, most=False).tolist() == [True, True, False, False]


def test_gathered_maps_leave_out_heads_without_one() -> None:
    weights = torch.tensor([[[0.0, 0.5, 0.0], [0.9, 0.0, 0.0], [0.2, 0.1, 0.3], [float("nan")] * 3]])
    image = torch.tensor([False, True, True])
    for span in (None, (1, 3)):
        rows = AttentionRows(weights, image, image_span=span)
        assert gathered_distribution(rows, 0.5, most=True).tolist() == [[0.0, pytest.approx(1.25), pytest.approx(0.75)]]
        assert gathered_distribution(rows, 0.5, most=False).tolist() == [
            [0.0, pytest.approx(0.25), pytest.approx(0.75)]
        ]
