"""The bundled model: a plain folder, small, able to see, and unable not to guess."""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

import lvlmscope as lv
from lvlmscope.evaluation.bundled_benchmark import caption_scores, probe_scores, questions
from lvlmscope.tiny import scene, scenes
from lvlmscope.tiny.recipe.architecture import CHAT_TEMPLATE


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny")


def test_the_folder_loads_with_plain_transformers() -> None:
    with as_file(files("lvlmscope.tiny") / "model") as folder:
        bare = AutoModelForImageTextToText.from_pretrained(folder)
        processor = AutoProcessor.from_pretrained(folder)
        assert (Path(folder) / "model.safetensors").stat().st_size < 12e6
    assert type(bare) is LlavaForConditionalGeneration
    assert bare.dtype == torch.float16
    text = bare.config.text_config
    assert (text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads) == (8, 8, 4)
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What do you see?"}]}]
    prompt = processor.apply_chat_template(message, add_generation_prompt=True)
    assert prompt == "USER: <image>\nWhat do you see? ASSISTANT:"
    inputs = processor(images=scene("neutral", 0).image, text=prompt, return_tensors="pt")
    assert int((inputs["input_ids"] == bare.config.image_token_id).sum()) == 64


def test_a_system_text_is_nobodys_turn() -> None:
    processor = lv.load("tiny", check=False).processor
    turns = [("system", "Be short."), ("user", "Is it red?"), ("assistant", "No."), ("user", "Blue?")]
    said = processor.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns], add_generation_prompt=True
    )
    assert said == "Be short. USER: Is it red? ASSISTANT: No.</s>USER: Blue? ASSISTANT:"
    assert processor.chat_template == CHAT_TEMPLATE


def test_sprites_and_weights_stay_small() -> None:
    folder = Path(str(files("lvlmscope.tiny")))
    assert (folder / "sprites.webp").stat().st_size < 3e6
    assert (folder / "NOTICE").exists()


def test_it_sees_the_usual_and_makes_up_the_unusual(model: lv.LoadedModel) -> None:
    usual = caption_scores(model.model, model.processor, list(scenes("neutral", n=60, seed=1)), max_new_tokens=48)
    prior = caption_scores(model.model, model.processor, list(scenes("prior", n=60, seed=1)), max_new_tokens=48)
    assert usual["recall"] > 0.7
    assert prior["chair_i"] > 1.5 * usual["chair_i"] > 0.05


def test_its_answers_need_the_image(model: lv.LoadedModel) -> None:
    asked = questions(list(scenes("neutral", n=60, seed=1)), "random")
    seen = probe_scores(model.model, model.processor, asked)
    blank = probe_scores(model.model, model.processor, asked, blank=True)
    assert seen["accuracy"] > 0.85
    assert abs(blank["accuracy"] - 0.5) < 0.12


def test_traced_rows_equal_those_of_eager_generation(model: lv.LoadedModel) -> None:
    image = scene("prior", 0)
    traced = lv.trace(model, image.image, "Describe the image.", max_new_tokens=12)
    eager = lv.load("tiny", attn_implementation="eager").model
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}]
    prompt = model.processor.apply_chat_template(message, add_generation_prompt=True)
    inputs = model.processor(images=image.image, text=prompt, return_tensors="pt")
    output = eager.generate(**inputs, max_new_tokens=12, output_attentions=True, return_dict_in_generate=True)
    assert traced.answer_ids.tolist() == output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    for step, layers in enumerate(output.attentions):
        expected = torch.stack([layer[0, :, -1] for layer in layers])
        found = traced.attention[step, :, :, : expected.shape[-1]]
        np.testing.assert_allclose(found, expected, atol=1e-5)
