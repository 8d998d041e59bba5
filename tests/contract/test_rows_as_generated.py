"""Rows and log-probabilities of the replay are those of stepwise generation, for every intervention in every family."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention, ModelInfo, Session
from lvlmscope.traces.trace import Trace
from tests.contract.test_interventions import INTERVENTIONS, OPTIONS, STEPS
from tests.contract.test_interventions_in_families import fitting
from tests.support.tiny_families import FAMILIES, FamilyCase
from tests.support.traced import from_inputs

Seen = dict[tuple[int, int], torch.Tensor]
NAMES = ("llava", "qwen2_5_vl", "gemma3", "smolvlm")
CASES: dict[str, Callable[..., FamilyCase]] = {name: FAMILIES[name] for name in NAMES}


@dataclass(frozen=True)
class Witness:
    """Edits nothing; remembers the rows that the interventions before it left, by step and layer."""

    seen: Seen = field(default_factory=dict)

    def start(self, model_info: ModelInfo) -> Session:
        del model_info
        return _Witnessing(self.seen)

    def describe(self) -> dict[str, Any]:
        return {"name": "Witness", "reference": "", "parameters": {}}


class _Witnessing(Session):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._step = -1
        self._is_of_answer = True

    def begin_forward(self, forward: Any) -> None:
        self._is_of_answer = forward.batch_size == 1  # and not of several candidates for its next token
        if self._is_of_answer:
            assert forward.num_rows == 1  # one row at a time: this is no replay
            self._step += 1

    def edit_attention(self, rows: AttentionRows) -> None:
        assert rows.layer is not None
        if not self._is_of_answer:
            return
        self._seen[self._step, rows.layer] = rows.weights[0, 0].detach().clone()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("intervention", INTERVENTIONS.values(), ids=INTERVENTIONS)
def test_the_replay_shows_the_rows_and_logits_of_each_step(name: str, intervention: Intervention) -> None:
    case, witness = CASES[name](), Witness()
    intervention = fitting(intervention, case.model)
    with intervene(case.model, intervention, witness):
        made = case.model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
    found = from_inputs(case.model, case.inputs, interventions=[intervention], **OPTIONS)
    assert isinstance(found, Trace)
    assert found.answer_ids.tolist() == made.sequences[0, -STEPS:].tolist()
    for step, logits in enumerate(made.logits):
        expected = torch.log_softmax(logits[0].float(), -1)
        torch.testing.assert_close(found.log_probs[step], expected[found.answer_ids[step]], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.top_log_probs[step], expected[found.top_ids[step]], atol=1e-4, rtol=1e-4)
        for layer in found.layer_indices:
            row, seen = found.attention[step, layer, :, : found.prompt_length + step], witness.seen[step, layer]
            hidden = row.shape[-1] - seen.shape[-1]  # a layer with a window shows its last keys only
            torch.testing.assert_close(row[:, hidden:], seen, atol=1e-5, rtol=1e-4)
            assert not row[:, :hidden].any()
