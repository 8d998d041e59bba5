"""Answers whose rows a block would round another way are given again as they were generated, forward by forward."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

import lvlmscope as lv
from lvlmscope.attribution.answer_scorer import AnswerScorer, answer_scorer_of
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.tiny import scene
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.tiny_families import livened, llama, tower
from tests.support.tiny_more import MORE
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 8, "min_new_tokens": 8, "suppress_tokens": tiny_models.SUPPRESSED}
IMAGE = scene("prior", 0).image


def experts(dtype: torch.dtype) -> LoadedModel:
    """LLaVA whose decoder picks two of four experts for each token."""
    torch.manual_seed(0)
    config = tf.LlavaConfig(
        vision_config=tower(tf.CLIPVisionConfig, projection_dim=16),
        text_config=llama(tf.MixtralConfig, num_local_experts=4, num_experts_per_tok=2),
        image_token_id=tiny_models.IMAGE,
        image_seq_length=16,
    )
    model = livened(tiny_models.unit_gain(tf.LlavaForConditionalGeneration(config), 0)).to(dtype)
    return lv.load((model, tiny_models.processor()), check=False)


@pytest.fixture(scope="module")
def mixed() -> tuple[LoadedModel, Trace]:
    model = experts(torch.bfloat16)
    return model, lv.trace(model, IMAGE, "w7 w8", progress=False, **OPTIONS)


def test_the_scores_are_the_traces_to_the_last_bit(mixed: tuple[LoadedModel, Trace]) -> None:
    model, trace = mixed
    assert trace.provenance["replay"]["path"] == "steps"
    scorer = answer_scorer_of(trace, model)
    assert scorer.stepwise
    assert torch.equal(scorer.with_images([IMAGE])[0], trace.log_probs)
    with scorer.with_embeddings(3) as (own, score), torch.no_grad():
        assert torch.equal(score(own[None].expand(2, -1, -1)), trace.log_probs.repeat(2, 1))


def test_each_image_is_scored_as_it_is_alone(mixed: tuple[LoadedModel, Trace]) -> None:
    model, trace = mixed
    scorer = answer_scorer_of(trace, model)
    images = [IMAGE, scene("prior", 1).image, scene("hard", 0).image]
    together = scorer.with_images(images)
    assert torch.equal(together, torch.cat([scorer.with_images([image]) for image in images]))
    assert not torch.equal(together[0], together[1])
    assert lv.occlusion(trace, model, words=[0], patches=(2, 2)).shape == (1, 2, 2)


def test_steps_and_block_give_the_same_attributions() -> None:
    model = experts(torch.float32)
    trace = lv.trace(model, IMAGE, "w7 w8", progress=False, **OPTIONS)
    assert trace.provenance["replay"]["path"] == "block"
    trace.provenance["replay"] |= {"path": "steps", "reason": "asked for"}
    steps = lv.integrated_gradients(trace, model, words=[0, 5], n_steps=4)
    covered = lv.occlusion(trace, model, words=[0, 5], patches=(2, 2))
    trace.provenance["replay"] |= {"path": "block", "reason": ""}
    np.testing.assert_allclose(steps, lv.integrated_gradients(trace, model, words=[0, 5], n_steps=4), atol=1e-4)
    np.testing.assert_allclose(covered, lv.occlusion(trace, model, words=[0, 5], patches=(2, 2)), atol=1e-4)


def test_recurrent_layers_are_differentiated_step_by_step() -> None:
    case = MORE["qwen3_5_moe"](1)
    trace = from_inputs(case.model, case.inputs, progress=False, **OPTIONS)
    block = lv.integrated_gradients(trace, case.model, words=[5], n_steps=3, inputs=case.inputs)
    trace.provenance["replay"] |= {"path": "steps", "reason": "asked for"}
    steps = lv.integrated_gradients(trace, case.model, words=[5], n_steps=3, inputs=case.inputs)
    np.testing.assert_allclose(steps, block, atol=1e-4)
    assert float(abs(steps).max()) > 1e-3


def test_padding_that_changes_a_sample_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = experts(torch.float32)
    trace = lv.trace(model, IMAGE, "w7 w8", progress=False, **OPTIONS)
    sizes: list[int] = []
    logits = AnswerScorer._logits

    def counted(self: AnswerScorer, inputs: dict[str, Any]) -> torch.Tensor:
        sizes.append(inputs["input_ids"].shape[0])
        return logits(self, inputs)

    monkeypatch.setattr(AnswerScorer, "_logits", counted)
    answer_scorer_of(trace, model).with_images([IMAGE, IMAGE])
    monkeypatch.setattr(type(model.family), "padding_reason", lambda *_: "for a reason")
    answer_scorer_of(trace, model).with_images([IMAGE, IMAGE])
    assert sizes == [2, 1, 1]
