"""Scores of rows where the call names no scale."""

import torch

from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import row_scores


def test_without_a_scale_the_root_of_the_head_size_divides() -> None:
    query, key = torch.randn(2, 4, 3, 16), torch.randn(2, 2, 5, 16)
    parts = {"query": query, "key": key, "value": key, "mask": None, "kernel": "sdpa"}
    call = AttentionCall(module=torch.nn.Identity(), options={}, first_row=1, **parts)
    expected = query[:, :, 1:].double() @ key.double().repeat_interleave(2, 1).mT / 4.0
    torch.testing.assert_close(row_scores(call).double(), expected, atol=1e-5, rtol=1e-5)
