"""What a replay's logits are compared with, and how much they may differ."""

from typing import Any

import torch
from transformers import LogitsProcessor

import lvlmscope as lv
from lvlmscope.capture.agreement import decoder_dtype
from lvlmscope.models.families import family_of
from tests.support import tiny_models
from tests.support.traced import from_inputs


class WritesInPlace(LogitsProcessor):
    """Suppresses most tokens by writing into what it is given."""

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        del input_ids
        scores[:, 20:] = float("-inf")
        return scores


def test_a_logits_processor_that_writes_in_place_does_not_change_what_is_compared() -> None:
    case = tiny_models.llava()
    options: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 6, "logits_processor": [WritesInPlace()]}
    traced = from_inputs(case.model, case.inputs, **options)
    assert traced.answer_ids.max() < 20
    assert traced.provenance["replay"]["path"] == "block"
    assert traced.provenance["replay"]["difference"] < 1e-4
    assert traced.top_ids.max() >= 20  # the model's own alternatives


def test_the_tolerance_follows_the_decoder_where_the_vision_tower_has_another_dtype() -> None:
    case = tiny_models.llava(dtype=torch.bfloat16)
    case.model.model.vision_tower.float()
    case.model.model.multi_modal_projector.float()
    assert case.model.dtype == torch.float32
    assert decoder_dtype(case.model, family_of(case.model)) == torch.bfloat16
    inputs = case.inputs | {"pixel_values": case.inputs["pixel_values"].float()}
    traced = lv.trace_inputs(case.model, inputs, max_new_tokens=12, min_new_tokens=12, progress=False)[0]
    told = traced.provenance["replay"]
    assert (told["path"], told["reason"]) == ("block", "")
    assert told["difference"] <= told["tolerance"]
    assert told["tolerance"] >= 0.05
