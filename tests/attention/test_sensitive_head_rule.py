"""Which heads count as looking at the image most and least."""

import pytest
import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.sensitive_head_rule import extreme_heads, gathered_distribution


@pytest.mark.parametrize("most", [True, False])
def test_a_row_that_sees_no_image_key_has_no_such_head(most: bool) -> None:
    mass = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.3, 0.2]])
    assert extreme_heads(mass, 0.25, most=most).sum(-1).tolist() == [0, 1]


def test_such_a_row_adds_nothing_to_an_anchor() -> None:
    rows = AttentionRows(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([False, True, True]))
    assert gathered_distribution(rows, 0.5, most=True).tolist() == [0.0, 0.0, 0.0]
