"""Branches without interventions: token by token, in one block, and what they leave in the model."""

from typing import Any

import pytest
import torch

from lvlmscope.decoding.branch import Branch
from lvlmscope.decoding.forward_log import ForwardLog
from lvlmscope.decoding.second_sequence import in_branch, second_sequence
from lvlmscope.errors import UnsupportedModelError
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.uncached import logits_of

ANSWER = torch.tensor([[7, 9, 11, 6]])
GREEDY = {"max_new_tokens": 1, "do_sample": False}


def branch_of(case: Any, inputs: dict[str, Any], **options: Any) -> Branch:
    return Branch(case.model, case.model, inputs, options=GREEDY, **options)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
@torch.no_grad()
def test_steps_and_block_are_those_of_full_forwards(family: str) -> None:
    case = FAMILIES[family](1)
    expected = torch.tensor(logits_of(case.model, case.inputs, ANSWER[0]))
    stepwise, block = branch_of(case, case.inputs), branch_of(case, case.inputs)
    block.replay(ANSWER)
    for step in range(ANSWER.shape[1]):
        for branch in (stepwise, block):
            found = branch.logits(ANSWER[:, :step])[0]
            torch.testing.assert_close(found, expected[step].to(found), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_modules_keep_what_they_had_of_another_sequence() -> None:
    case = FAMILIES["qwen2_5_vl"](2)
    case.model.generate(**case.samples[0], **GREEDY)
    before = case.model.model.rope_deltas
    assert before is not None
    branch_of(case, case.samples[1]).logits(ANSWER[:, :0])
    assert case.model.model.rope_deltas is before


@torch.no_grad()
def test_its_forwards_are_not_logged_as_those_of_the_answer() -> None:
    case = tiny_models.llava()
    log = ForwardLog()
    handle = case.model.register_forward_pre_hook(log, with_kwargs=True)
    branch_of(case, case.inputs).logits(ANSWER)
    handle.remove()
    assert log.steps == 0
    assert not in_branch()
    with second_sequence():
        assert in_branch()


def test_rows_must_belong_to_the_prompts() -> None:
    case = tiny_models.llava(2)
    with pytest.raises(UnsupportedModelError, match="3 rows for 2 prompts"):
        branch_of(case, case.inputs).logits(ANSWER.expand(3, -1))
