"""Bad input: each a one-line error that says what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from lvlmscope.errors import ImageInputError, ModelInputError, PromptError, UnsupportedModelError
from lvlmscope.loading import LoadedModel, load
from lvlmscope.tracing import trace
from tests import tiny_models

PICTURE = Image.new("RGB", (40, 40))


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load((tiny_models.llava().model, tiny_models.processor()))


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (None, "no image"),
        ([], "no image"),
        (3, "int"),
        ("nowhere.png", "No such file"),
        (np.zeros((3, 4, 5)), "array of shape"),
        (np.full((4, 4, 3), 7.0), "floats outside"),
        ([PICTURE, PICTURE], "2 images"),
    ],
)
def test_pictures_that_cannot_be_used(model: LoadedModel, image: Any, match: str) -> None:
    with pytest.raises(ImageInputError, match=match):
        trace(model, image, "w7")


def test_a_file_that_is_no_picture(model: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("words")
    with pytest.raises(ImageInputError, match="cannot identify image"):
        trace(model, tmp_path / "x.png", "w7")


@pytest.mark.parametrize(("prompt", "match"), [("", "empty prompt"), ("  ", "empty prompt"), (None, "NoneType")])
def test_prompts_that_cannot_be_used(model: LoadedModel, prompt: Any, match: str) -> None:
    with pytest.raises(PromptError, match=match):
        trace(model, PICTURE, prompt)


def test_placeholders_must_match_pictures(model: LoadedModel) -> None:
    with pytest.raises(PromptError, match="as many placeholders as images"):
        trace(model, PICTURE, "<image> <image> w7")


def test_an_answer_outside_the_vocabulary(model: LoadedModel) -> None:
    with pytest.raises(PromptError, match="vocabulary"):
        trace(model, PICTURE, "w7", answer="zebra")
    with pytest.raises(PromptError, match="an empty answer"):
        trace(model, PICTURE, "w7", answer="")


def test_a_text_only_model() -> None:
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(UnsupportedModelError, match="text-only"):
        trace(LlamaForCausalLM(config), PICTURE, "hello")


def test_a_model_without_a_processor() -> None:
    with pytest.raises(UnsupportedModelError, match="processor="):
        trace(tiny_models.llava().model, PICTURE, "w7")


def test_a_name_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="check the name"):
        load(tmp_path / "nothing")


def test_a_saved_model_is_loaded_with_its_processor(tmp_path: Path, model: LoadedModel) -> None:
    model.model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    again = load(tmp_path)
    options: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": tiny_models.SUPPRESSED}
    assert trace(again, PICTURE, "w7", **options).answer == trace(model, PICTURE, "w7", **options).answer
    assert trace(again.model, PICTURE, "w7", **options).answer == trace(model, PICTURE, "w7", **options).answer


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({}, "input_ids None"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.int64), "attention_mask": torch.tensor([[1, 1, 0]])}, "left"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.int64), "attention_mask": torch.ones(1, 4)}, "2-D mask"),
    ],
)
def test_prepared_inputs_that_do_not_fit(model: LoadedModel, inputs: Any, match: str) -> None:
    with pytest.raises(ModelInputError, match=match):
        trace(model, inputs=inputs)


def test_arrays_are_read_like_pictures(model: LoadedModel) -> None:
    array = np.random.default_rng(0).random((40, 40, 3))
    options: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": tiny_models.SUPPRESSED}
    picture = Image.fromarray((array * 255).round().astype(np.uint8))
    assert torch.equal(trace(model, array, "w7", **options).attention, trace(model, picture, "w7", **options).attention)
