"""What layers of one forward share of a mask."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.runtime.row_reading import _visibility_key

MASK = torch.ones(1, 1, 2, 5, dtype=torch.bool)
CALL = AttentionCall(
    module=torch.nn.Identity(),
    query=torch.zeros(1, 2, 2, 4),
    key=torch.zeros(1, 2, 5, 4),
    value=torch.zeros(1, 2, 5, 4),
    mask=MASK,
    kernel="sdpa",
    options={"scaling": 0.5},
    first_row=0,
)


class _SeesAll(torch.nn.Identity):
    is_causal = False


@pytest.mark.parametrize(
    "change",
    [
        {"mask": MASK.clone()},
        {"mask": None},
        {"key": torch.zeros(1, 2, 6, 4), "value": torch.zeros(1, 2, 6, 4)},
        {"first_row": 1},
        {"end_row": 1},
        {"kernel": "eager"},
        {"options": {"is_causal": False}},
        {"options": {"sliding_window": 3}},
        {"module": _SeesAll()},
        {"query": torch.zeros(1, 2, 2, 4, device="meta")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_rows_see_is_shared_by_equal_calls_alone(change: dict[str, Any]) -> None:
    assert _visibility_key(replace(CALL, **change)) != _visibility_key(CALL)


def test_what_rows_see_does_not_depend_on_their_content() -> None:
    others = {"query": CALL.query + 1, "key": CALL.key + 1, "options": {"scaling": 2.0}, "module": torch.nn.Identity()}
    assert _visibility_key(replace(CALL, **others)) == _visibility_key(CALL)
