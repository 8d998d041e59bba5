"""Sparse layers, sinks, capped scores and position biases: rows equal eager attention's, alone and in a batch."""

from typing import Any

import pytest
import torch

from lvlmscope.errors import ModelInputError
from lvlmscope.interventions import DLEAF
from lvlmscope.traces.trace import Trace
from lvlmscope.verification.self_check import check
from tests.models.test_families import OPTIONS, assert_equals_eager
from tests.support.tiny_models import IMAGE
from tests.support.tiny_variants import VARIANTS
from tests.support.traced import from_inputs

# Its blocks of keys are counted from the padding on: transformers says that padded batches are not right
UNPADDED = {"minimax_m3_vl"}
NAMES = [name for name in VARIANTS if name != "diffllama"]
CHOSEN = {"deepseek_v32": 6, "glm_moe_dsa": 6, "mistral_large4": 6}


@pytest.mark.parametrize("name", NAMES)
def test_rows_equal_eager_attention_alone_and_in_a_padded_batch(name: str) -> None:
    case = VARIANTS[name](2)
    if name in UNPADDED:
        with pytest.raises(ModelInputError, match="use a padded batch"):
            from_inputs(case.model, case.inputs, **OPTIONS)
        batch: Any = [from_inputs(case.model, sample, gradients=True, **OPTIONS) for sample in case.samples]
    else:
        batch = from_inputs(case.model, case.inputs, gradients=True, **OPTIONS)
    for traced, sample in zip(batch, case.samples, strict=True):
        alone = from_inputs(case.model, sample, gradients=True, **OPTIONS)
        assert isinstance(alone, Trace)
        for field in ("attention", "gradient", "log_probs"):
            torch.testing.assert_close(getattr(traced, field), getattr(alone, field), atol=1e-5, rtol=1e-4)
        assert_equals_eager(name, traced, case.model, sample)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_sparse_layer_sees_the_keys_it_chose(name: str) -> None:
    case = VARIANTS[name]()
    traced = from_inputs(case.model, case.samples[0], **OPTIONS)
    assert isinstance(traced, Trace)
    assert ((traced.attention > 0).sum(-1) <= CHOSEN[name]).all()


@pytest.mark.filterwarnings("ignore:DLEAF changed nothing")  # the check hides the image, which changes every model
@pytest.mark.parametrize("name", NAMES)
def test_an_edit_is_replayed_and_the_model_passes_its_check(name: str) -> None:
    case = VARIANTS[name]()
    edited = from_inputs(case.model, case.samples[0], interventions=[DLEAF(gamma=0.5)], **OPTIONS)
    assert isinstance(edited, Trace)
    assert edited.provenance["replay"]["difference"] < 1e-4
    found = check(case.model, inputs=case.samples[0])
    assert found.passed, found


def test_a_prompt_that_ends_in_the_image_is_replayed_with_the_types_of_its_answer() -> None:
    case = VARIANTS["ernie4_5_vl_moe"]()
    ids = case.samples[0]["input_ids"]
    end = int((ids[0] == IMAGE).nonzero()[-1]) + 1
    inputs = {name: v[:, :end] if v.shape[:2] == ids.shape else v for name, v in case.samples[0].items()}
    traced = from_inputs(case.model, inputs, **OPTIONS)
    assert isinstance(traced, Trace)
    assert traced.provenance["replay"]["path"] == "full"
    assert_equals_eager("ernie4_5_vl_moe", traced, case.model, inputs)
