"""What a replay's logits are compared with, and how much they may differ."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

import lvlmscope as lv
from lvlmscope.capture.agreement import Agreement, compare_logits, decoder_dtype
from lvlmscope.errors import ReplayError
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


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("dtype", "share"),
    [(torch.float64, 1e-6), (torch.float32, 1e-3), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)],
)
def test_what_may_differ_is_a_share_of_the_largest_logit_by_dtype(dtype: torch.dtype, share: float) -> None:
    logits = torch.zeros(2, 3, 5)
    logits[1, 2, 4] = -20.0
    logits[0, 2, 0] = 1e6  # after the end of a sample of one step
    generation: Any = SimpleNamespace(logits=logits, steps=[1, 3])
    replayed = logits.clone()
    replayed[1, 0, 3] += 20 * share * 0.9
    replayed[0, 1] = float("nan")
    found = compare_logits(generation, replayed, dtype)
    assert found.tolerance == pytest.approx(20 * share)
    assert found.holds
    replayed[1, 1, 3] -= 20 * share * 1.1
    assert not compare_logits(generation, replayed, dtype).holds
    replayed[1, 1, 0] = float("nan")
    with pytest.raises(ReplayError, match="NaN at step 1"):
        compare_logits(generation, replayed, dtype)


@pytest.mark.usefixtures("unchecked_shapes")
def test_equal_infinities_agree_and_others_do_not() -> None:
    logits = torch.tensor([[[1.0, float("-inf"), 3.0, float("inf")]]])
    generation: Any = SimpleNamespace(logits=logits, steps=[1])
    same = compare_logits(generation, logits.clone(), torch.float32)
    assert (same.difference, same.tolerance) == (0.0, pytest.approx(3e-3))  # of the largest number
    assert same.holds
    for token, value in ((1, 0.0), (1, float("inf")), (0, float("-inf"))):
        other = logits.clone()
        other[0, 0, token] = value
        found = compare_logits(generation, other, torch.float32)
        assert found.difference == float("inf")
        assert not found.holds


def test_a_difference_of_exactly_the_tolerance_holds() -> None:
    assert Agreement(difference=0.5, tolerance=0.5).holds
    assert not Agreement(difference=0.5000001, tolerance=0.5).holds


@pytest.mark.usefixtures("unchecked_shapes")
def test_small_logits_may_differ_as_logits_of_one() -> None:
    generation: Any = SimpleNamespace(logits=torch.full((1, 1, 2), 0.1), steps=[1])
    assert compare_logits(generation, torch.full((1, 1, 2), 0.1), torch.float32).tolerance == pytest.approx(1e-3)


def test_the_coarsest_dtype_of_a_decoders_weights_counts() -> None:
    case = tiny_models.llava()
    family = family_of(case.model)
    assert decoder_dtype(case.model, family) == torch.float32
    case.model.model.language_model.layers[1].half()
    assert decoder_dtype(case.model, family) == torch.float16
    case.model.model.language_model.layers[0].to(torch.bfloat16)
    assert decoder_dtype(case.model, family) == torch.bfloat16
