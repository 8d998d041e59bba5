"""Documents, codes and pooled patches: rows equal eager attention's; key columns that are no tokens are refused."""

from typing import Any

import pytest
import torch
import transformers as tf

import lvlmscope as lv
from lvlmscope.errors import UnsupportedModelError
from lvlmscope.models.families import family_of
from tests.support.tiny_latest import LATEST
from tests.support.verify_models import OPTIONS, measured

REFUSED = {
    "unlimited_ocr": "reference_sliding_attention layers have as key columns the prompt and the last tokens",
    "deepseek_v4": "heavily_compressed_attention layers have as key columns blocks of tokens",
}
# Each takes five seconds or more
SLOW = {"molmo2", "emu3", "granite4_vision", "deepseek_ocr2", "minicpmv4_6", "minicpmv4_7", "minicpm_ocr", "fast_vlm"}
SLOW |= {"cosmos3_omni", "cosmos3_edge", "nemotron_h_omni"}
NAMES = [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in LATEST if n not in REFUSED]


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_batches_of_each(name: str) -> None:
    found = measured(name)
    assert found["passed"], found["checks"]
    assert found["batch"]["attention"] < 1e-4
    assert found["batch"]["gradient"] < 1e-3 * max(1.0, found["gradient"])
    assert found["gradient"] > 0
    assert found["empty_intervention_changes_nothing"]


@pytest.mark.parametrize("name", REFUSED)
def test_key_columns_that_are_no_tokens_are_refused_before_anything_runs(name: str) -> None:
    case = LATEST[name]()
    with pytest.raises(UnsupportedModelError, match=REFUSED[name]):
        lv.trace_inputs(case.model, case.inputs, progress=False, **OPTIONS)
    with pytest.raises(UnsupportedModelError, match="expected: decoders with a key for each token"):
        lv.check(case.model, inputs=case.inputs)


@pytest.mark.parametrize("name", REFUSED)
def test_they_are_refused_by_interventions_too(name: str) -> None:
    case = LATEST[name]()
    plain = case.model.generate(**case.inputs, **OPTIONS)
    with pytest.raises(UnsupportedModelError, match=REFUSED[name]), lv.intervene(case.model, lv.DLEAF()):
        case.model.generate(**case.inputs, **OPTIONS)
    assert torch.equal(plain, case.model.generate(**case.inputs, **OPTIONS))


def sparse_gemma() -> Any:
    return tf.DiffusionGemmaConfig(text_config={"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32})


@pytest.mark.parametrize(
    ("config", "model", "match"),
    [
        (tf.Pix2StructConfig, tf.Pix2StructForConditionalGeneration, "an encoder-decoder whose prompt lies outside"),
        (tf.BlipConfig, tf.BlipForConditionalGeneration, "shows the image to cross-attention in every layer"),
        (tf.Kosmos2_5Config, tf.Kosmos2_5ForConditionalGeneration, "marks image positions by a mask of its own"),
        (tf.PI0Config, tf.PI0ForConditionalGeneration, "gives actions, no text"),
        (sparse_gemma, tf.DiffusionGemmaForBlockDiffusion, "writes by diffusion, not token by token"),
    ],
)
def test_models_without_image_tokens_are_refused_for_their_own_reason(config: Any, model: Any, match: str) -> None:
    with torch.device("meta"):
        made = model(config())
    with pytest.raises(UnsupportedModelError, match=match):
        family_of(made).require_vision(made)
