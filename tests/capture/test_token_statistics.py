"""Statistics of the next-token distribution: a float64 twin, whatever the number of steps that are read together."""

import pytest
import torch

from lvlmscope.capture import token_statistics
from lvlmscope.capture.token_statistics import read_probabilities, step_blocks
from tests.reference import certainty


@pytest.mark.parametrize("block", [1, 2 * 11 * 3, 2**21])
def test_each_sample_and_step_equals_the_twin_in_blocks_of_any_size(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    logits, answer = torch.randn(2, 7, 11) * 3, torch.randint(0, 11, (2, 7))
    monkeypatch.setattr(token_statistics, "_BLOCK", block)
    assert sum(part.stop - part.start for part in step_blocks(logits)) == 7
    assert len(list(step_blocks(logits))) == {1: 7, 66: 3, 2**21: 1}[block]
    found = read_probabilities(logits, answer)
    for sample in range(2):
        for step in range(7):
            row = logits[sample, step].double().tolist()
            expected = certainty.confidence(row, int(answer[sample, step]))
            values = [float(each[sample, step]) for each in (found.log_probs, found.entropy, found.margin)]
            assert values == pytest.approx(expected, abs=1e-5)
            order = sorted(range(11), key=lambda token: -row[token])[:5]
            assert found.top_ids[sample, step].tolist() == order
            logs = [certainty.confidence(row, token)[0] for token in order]
            assert found.top_log_probs[sample, step].tolist() == pytest.approx(logs, abs=1e-5)


def test_tokens_that_cannot_come_have_no_share_of_the_entropy() -> None:
    logits = torch.tensor([[[0.0, 0.0, float("-inf"), float("-inf")]]])
    found = read_probabilities(logits, torch.tensor([[1]]))
    assert float(found.entropy) == pytest.approx(0.693147, abs=1e-5)
    assert (float(found.margin), float(found.log_probs)) == pytest.approx((0.0, -0.693147), abs=1e-5)
    assert found.top_ids.shape == (1, 1, 4)  # fewer tokens than alternatives
