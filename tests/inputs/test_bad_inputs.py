"""Bad input: each a one-line error that says what to do."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import lvlmscope as lv
from lvlmscope.capture.trace_one import trace
from lvlmscope.errors import ImageInputError, ModelInputError, PromptError, UnsupportedModelError
from lvlmscope.inputs.context_limits import context_length
from lvlmscope.inputs.preparation import prepare
from lvlmscope.models.families import DefaultFamily, family_of
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.verification.loading import load
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

IMAGE = Image.new("RGB", (40, 40))


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
        (np.zeros((5, 4, 6)), "array of shape"),
        (np.full((4, 4, 3), 7.0), "floats outside"),
        ([IMAGE, IMAGE], r"2 images; expected: 1 for the family llava; .*model\.family\.max_images is None"),
        (Image.new("RGB", (1, 1)), "1 x 1 pixels; expected: at least 2 x 2"),
        (Image.new("L", (20_000, 20_000)), "20000 x 20000 pixels"),
        (Image.new("RGB", (20_000, 1)), "20000 x 1 pixels"),
    ],
)
def test_images_that_cannot_be_used(model: LoadedModel, image: Any, match: str) -> None:
    with pytest.raises(ImageInputError, match=match):
        trace(model, image, "w7")


def test_a_file_that_is_no_image(model: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("words")
    with pytest.raises(ImageInputError, match="bytes of no known image format"):
        trace(model, tmp_path / "x.png", "w7")


@pytest.mark.parametrize(("prompt", "match"), [("", "empty prompt"), ("  ", "empty prompt"), (None, "NoneType")])
def test_prompts_that_cannot_be_used(model: LoadedModel, prompt: Any, match: str) -> None:
    with pytest.raises(PromptError, match=match):
        trace(model, IMAGE, prompt)


def test_placeholders_must_match_images(model: LoadedModel) -> None:
    with pytest.raises(PromptError, match="as many placeholders as images"):
        trace(model, IMAGE, "<image> <image> w7")


def test_a_prompt_in_the_images_place(model: LoadedModel, tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.png")
    for image in (IMAGE, np.asarray(IMAGE), str(tmp_path / "a.png")):
        with pytest.raises(PromptError, match=r"the text 'Describe it\.' as image; .*; swap the two"):
            trace(model, "Describe it.", image)
    with pytest.raises(ImageInputError, match="No such file"):
        trace(model, "nowhere.png", "Describe it.")


def test_a_placeholder_of_another_model(model: LoadedModel) -> None:
    other = SimpleNamespace(image_token="<|image_pad|>", chat_template="{{ messages }}")
    with pytest.raises(PromptError, match="leave <image> out: the chat template puts the image in"):
        prepare(IMAGE, "<image>\nWhat is it?", other, model.family)


@pytest.mark.parametrize("prompt", ["<image>\nWhat is it?", "USER: <image>\nWhat is it? ASSISTANT:"])
def test_a_placeholder_with_or_without_the_templates_marks(prompt: str) -> None:
    tiny = load("tiny")
    plain, given = (prepare(IMAGE, text, tiny.processor, tiny.family) for text in ("What is it?", prompt))
    assert given.inputs["input_ids"].tolist() == plain.inputs["input_ids"].tolist()


def test_an_answer_without_words_is_told() -> None:
    silent: dict[str, Any] = {"max_new_tokens": 1, "forced_eos_token_id": 2}
    with pytest.warns(UserWarning, match="the answer to 'What is it\\?' has no words: its first token ends it"):
        assert not trace(load("tiny"), IMAGE, "What is it?", **silent).answer


def test_an_answer_outside_the_vocabulary(model: LoadedModel) -> None:
    with pytest.raises(PromptError, match="vocabulary"):
        trace(model, IMAGE, "w7", answer="zebra")
    with pytest.raises(PromptError, match="an empty answer"):
        trace(model, IMAGE, "w7", answer="")


def test_a_text_only_model() -> None:
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(UnsupportedModelError, match="text-only"):
        trace(LlamaForCausalLM(config), IMAGE, "hello")


def test_a_model_without_a_processor() -> None:
    with pytest.raises(UnsupportedModelError, match="processor="):
        trace(tiny_models.llava().model, IMAGE, "w7")


@pytest.mark.parametrize(
    ("processor", "match"),
    [
        ("qwenn", "load the processor of qwenn: got no folder of that name here, and a hub id has an owner"),
        (3, "find the model's processor: got processor=3; expected: a processor, or the name of one"),
    ],
)
def test_what_is_no_processor_is_refused_without_the_hub(
    processor: Any, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(UnsupportedModelError, match=match):
        trace(tiny_models.llava().model, IMAGE, "w7", processor=processor)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("given", [3, "llava", DefaultFamily])
def test_what_is_no_family_is_refused(given: Any) -> None:
    case = tiny_models.llava()
    calls: list[Any] = [
        lambda: lv.trace_inputs(case.model, case.inputs, family=given),
        lambda: lv.trace(case.model, IMAGE, "w7", processor=tiny_models.processor(), family=given),
        lambda: lv.trace_many(case.model, [(IMAGE, "w7")], processor=tiny_models.processor(), family=given),
        lambda: lv.estimate(case.model, inputs=case.inputs, family=given),
        lambda: lv.check(case.model, inputs=case.inputs, family=given),
        lambda: lv.attach(case.model, lv.DLEAF(), family=given),
    ]
    for call in calls:
        with pytest.raises(UnsupportedModelError, match=r"use a family's rules: got family=.*leave family out"):
            call()


def test_a_name_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="check the name"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("qwenn", "no folder of that name here, and a hub id has an owner"),
        ("./models/none", "no folder of that name here; expected"),
        (3, "load a model: got int 3"),
        (("a", "b", "c"), "got tuple"),
    ],
)
def test_what_names_no_model_is_refused_without_the_hub(
    source: Any, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvlmscope.models.loaded_model._load_model", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(UnsupportedModelError, match=match):
        load(source)


def test_a_saved_model_is_loaded_with_its_processor(tmp_path: Path, model: LoadedModel) -> None:
    model.model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    again = load(tmp_path)
    options: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": tiny_models.SUPPRESSED}
    assert trace(again, IMAGE, "w7", **options).answer == trace(model, IMAGE, "w7", **options).answer
    assert trace(again.model, IMAGE, "w7", **options).answer == trace(model, IMAGE, "w7", **options).answer


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({}, "input_ids None"),
        (3, "use prepared inputs: got inputs of type int; expected: a mapping"),
        (None, "inputs of type NoneType"),
        ([1], "inputs of type list"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.int64), "attention_mask": torch.tensor([[1, 1, 0]])}, "left"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.int64), "attention_mask": torch.ones(1, 4)}, "2-D mask"),
    ],
)
def test_prepared_inputs_that_do_not_fit(model: LoadedModel, inputs: Any, match: str) -> None:
    with pytest.raises(ModelInputError, match=match):
        from_inputs(model, inputs)


def test_arrays_are_read_like_images(model: LoadedModel) -> None:
    array = np.random.default_rng(0).random((40, 40, 3))
    options: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": tiny_models.SUPPRESSED}
    image = Image.fromarray((array * 255).round().astype(np.uint8))
    one, other = (trace(model, each, "w7", **options) for each in (array, image))
    assert torch.equal(one.attention, other.attention)
    (known,) = one.provenance["images"]
    assert other.provenance["images"] == [known]
    assert known["size"] == [40, 40]
    assert known["sha256"] != trace(model, IMAGE, "w7", **options).provenance["images"][0]["sha256"]


def test_a_strip_that_the_processor_refuses(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("absolute aspect ratio must be smaller than 200, got 1000.0")

    monkeypatch.setattr(type(model.processor), "__call__", refuse)
    with pytest.raises(ImageInputError, match="images of 20000 x 20 pixels: absolute aspect ratio"):
        trace(model, Image.new("RGB", (20_000, 20)), "w7")


def test_a_prompt_past_the_context_of_the_model(model: LoadedModel) -> None:
    with pytest.raises(PromptError, match=r"600 prompt tokens.*512 positions in all; shorten the prompt"):
        from_inputs(model, tiny_models.llava().inputs | padded_to(600), max_new_tokens=3)
    with pytest.raises(PromptError, match="ask for max_new_tokens=12 at most"):
        from_inputs(model, tiny_models.llava().inputs | padded_to(500), max_new_tokens=13)
    with pytest.raises(PromptError, match="13 of the answer"):
        from_inputs(model, tiny_models.llava().inputs | padded_to(500), answer=[7] * 13)


def padded_to(length: int) -> dict[str, torch.Tensor]:
    ids = tiny_models.llava().inputs["input_ids"]
    longer = torch.cat([ids, torch.full((1, length - ids.shape[1]), 7)], 1)
    return {"input_ids": longer, "attention_mask": torch.ones_like(longer)}


def test_a_stretched_rotary_scale_counts_into_the_context() -> None:
    stretched = tiny_models.llava().model
    assert context_length(stretched, family_of(stretched)) == 512
    scale = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}
    stretched.config.get_text_config().rope_parameters = scale
    assert context_length(stretched, family_of(stretched)) == 2_048
    stretched.config.get_text_config().rope_parameters = scale | {"rope_type": "llama3"}  # counted in by the config
    assert context_length(stretched, family_of(stretched)) == 512
    yarn = scale | {"rope_type": "yarn", "original_max_position_embeddings": 256}
    stretched.config.get_text_config().rope_parameters = yarn
    assert context_length(stretched, family_of(stretched)) == 1_024


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
def test_placeholders_without_their_images(name: str) -> None:
    case = FAMILIES[name]()
    token = family_of(case.model).image_mask(case.model, case.inputs["input_ids"])[0]
    whole = dict(case.inputs)
    blind = {key: value for key, value in whole.items() if "pixel_values" not in key}
    before = registry_state(case.model)
    with pytest.raises(ModelInputError, match=f"{int(token.sum())} image tokens and no pixels"):
        from_inputs(case.model, blind, max_new_tokens=3)
    keep = torch.ones_like(token)
    keep[token.nonzero()[0]] = False  # one placeholder less
    short = {key: value[:, keep] if value.shape == whole["input_ids"].shape else value for key, value in whole.items()}
    with pytest.raises(ModelInputError, match="as many image tokens as its images give"):
        from_inputs(case.model, short, max_new_tokens=3)
    assert registry_state(case.model) == before


def registry_state(model: Any) -> tuple[Any, ...]:
    # transformers leaves hooks of its own on the vision tower
    hooks = [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    ours = [hook for hook in hooks if not str(getattr(hook, "__module__", "lvlmscope")).startswith("transformers")]
    return model.config._attn_implementation, model.config.get_text_config()._attn_implementation, ours


class FusedAttention(torch.nn.Module):
    """An attention that asks no registry, as fused and quantised kernels do."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.own = own

    def forward(self, hidden_states: Any, position_embeddings: Any, past_key_values: Any, **_: Any) -> Any:
        heads = (*hidden_states.shape[:-1], -1, self.own.head_dim)
        parts = (self.own.q_proj, self.own.k_proj, self.own.v_proj)
        query, key, value = (part(hidden_states).view(heads).transpose(1, 2) for part in parts)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        key, value = past_key_values.update(key, value, self.own.layer_idx)
        visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril(key.shape[2] - query.shape[2])
        made = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, scale=self.own.scaling, enable_gqa=True
        )
        return self.own.o_proj(made.transpose(1, 2).flatten(2)), None


@pytest.mark.parametrize(
    ("fused", "match"), [([1], r"layers \[1\] attend without"), ([0, 1, 2], "never called the tap")]
)
def test_kernels_that_hide_their_attention(fused: list[int], match: str) -> None:
    case = tiny_models.llava()
    layers = case.model.model.language_model.layers
    for number in range(len(layers)) if len(fused) > 1 else fused:
        layers[number].self_attn = FusedAttention(layers[number].self_attn)
    before = registry_state(case.model)
    with pytest.raises(UnsupportedModelError, match=match):
        from_inputs(case.model, case.inputs, max_new_tokens=3)
    assert registry_state(case.model) == before


def test_prepared_inputs_have_a_function_of_their_own() -> None:
    case = tiny_models.llava()
    with pytest.raises(ModelInputError, match=r"got inputs=; .*call lv\.trace_inputs\(model, inputs\)"):
        lv.trace(case.model, inputs=case.inputs)
    assert isinstance(lv.trace_inputs(case.model, case.inputs, answer=[7, 8]), list)
