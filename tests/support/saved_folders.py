"""Tiny random models saved to folders as the hub keeps them: weights, tokenizer, image processor, chat template."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import lvlmscope as lv
from tests.support.planted_squares import PAIR, pil
from tests.support.processors import PLACES, tokenizer
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS

TEMPLATE = (
    "{{% for turn in messages %}}{{% if turn.role == 'user' %}}USER: {{% elif turn.role == 'system' %}}SYSTEM: "
    "{{% else %}}ASSISTANT: {{% endif %}}{{% if turn.content is string %}}{{{{ turn.content }}}} {{% else %}}"
    "{{% for part in turn.content %}}{{% if part.type == 'image' %}}{image} {{% else %}}{{{{ part.text }}}} "
    "{{% endif %}}{{% endfor %}}{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}ASSISTANT:{{% endif %}}"
)


@dataclass(frozen=True)
class Saved:
    """What a family's folder holds beside its weights.

    Attributes:
        processor: Class of the processor.
        images: The image processor.
        words: Makes the tokenizer.
        image: The text that the chat template writes for an image; None without a template.
        settings: Of the processor.
        names: Special tokens that the tokenizer knows by a name.
        second: Whether a second tokenizer is kept beside the first: that of InstructBLIP's Q-Former.
    """

    processor: str
    images: Callable[[], Any]
    words: Callable[[], Any]
    image: str | None
    settings: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    second: bool = False


def _qwen_images() -> Any:
    return pil("Qwen2VL", size={"shortest_edge": 256, "longest_edge": 16384}, patch_size=8, merge_size=2)


def _qwen_words() -> Any:
    return tokenizer("<|image_pad|>", ["<|video_pad|>", "<|vision_start|>", "<|vision_end|>"])


def _glm_images() -> Any:
    size = {"shortest_edge": 1024, "longest_edge": 16384}
    return pil("Glm4v", size=size, patch_size=8, merge_size=2)


def _pixtral_images() -> Any:
    return pil("Pixtral", size={"longest_edge": 64}, patch_size={"height": 8, "width": 8})


def _pixtral_words() -> Any:
    return tokenizer("[IMG]", ["[IMG_BREAK]", "[IMG_END]"])


_POINTS = [[32, 64], [64, 32], [64, 64]]
_QWEN = "<|vision_start|><|image_pad|><|vision_end|>"
FOLDERS: dict[str, Saved] = {
    "qwen2_vl": Saved("Qwen2VLProcessor", _qwen_images, _qwen_words, _QWEN),
    "qwen2_5_vl": Saved("Qwen2_5_VLProcessor", _qwen_images, _qwen_words, _QWEN),
    "qwen3_vl": Saved("Qwen3VLProcessor", _qwen_images, _qwen_words, _QWEN),
    "glm4v": Saved(
        "Glm4vProcessor",
        _glm_images,
        lambda: tokenizer("<|image|>", ["<|video|>", "<|begin_of_image|>", "<|end_of_image|>"]),
        "<|begin_of_image|><|image|><|end_of_image|>",
    ),
    "smolvlm": Saved(
        "SmolVLMProcessor",
        lambda: pil("SmolVLM", size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        lambda: tokenizer("<image>", ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *PLACES]),
        "<image>",
        {"image_seq_len": 16},
    ),
    "llava_onevision": Saved(
        "LlavaOnevisionProcessor",
        lambda: pil("LlavaOnevision", size=PAIR, image_grid_pinpoints=_POINTS),
        lambda: tokenizer("<image>", ["<video>"]),
        "<image>",
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    ),
    "internvl": Saved(
        "InternVLProcessor",
        lambda: pil("GotOcr2", size={"height": 64, "width": 64}, crop_to_patches=True, max_patches=4),
        lambda: tokenizer("<IMG_CONTEXT>", ["<video>", "<img>", "</img>"]),
        "<IMG_CONTEXT>",
        {"image_seq_length": 16},
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    "llava": Saved(
        "LlavaProcessor",
        lambda: pil("CLIP", size={"shortest_edge": 32}, crop_size=PAIR),
        tokenizer,
        "<image>",
        {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
    ),
    "llava_next": Saved(
        "LlavaNextProcessor",
        lambda: pil("LlavaNext", size={"shortest_edge": 32}, crop_size=PAIR, image_grid_pinpoints=_POINTS),
        tokenizer,
        "<image>",
        {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
    ),
    "idefics3": Saved(
        "Idefics3Processor",
        lambda: pil("Idefics3", size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        lambda: tokenizer("<image>", ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *PLACES]),
        "<image>",
        {"image_seq_len": 16},
    ),
    "gemma3": Saved(
        "Gemma3Processor",
        lambda: pil("Gemma3", size=PAIR),
        lambda: tokenizer("<soft>", ["<video>", "<boi>", "<eoi>"]),
        "<boi>",
        {"image_seq_length": 16},
        {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<soft>"},
    ),
    "aya_vision": Saved(
        "AyaVisionProcessor",
        lambda: pil("GotOcr2", size=PAIR, max_patches=2),
        lambda: tokenizer("<|IMG_PATCH|>", ["TILE_GLOBAL", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "TILE_1", "TILE_2"]),
        "<image>",
        {"patch_size": 4, "img_size": 32, "downsample_factor": 2},
    ),
    "mistral3": Saved(
        "PixtralProcessor", _pixtral_images, _pixtral_words, "[IMG]", {"patch_size": 4, "spatial_merge_size": 2}
    ),
    "pixtral": Saved("PixtralProcessor", _pixtral_images, _pixtral_words, "[IMG]", {"patch_size": 8}),
    "paligemma": Saved(
        "PaliGemmaProcessor", lambda: pil("Siglip", size=PAIR, image_seq_length=16), tokenizer, "<image>"
    ),
    "instructblip": Saved(
        "InstructBlipProcessor",
        lambda: pil("Blip", size=PAIR),
        tokenizer,
        None,
        {"num_query_tokens": 16},
        second=True,
    ),
    "blip_2": Saved("Blip2Processor", lambda: pil("Blip", size=PAIR), tokenizer, None, {"num_query_tokens": 16}),
    "mllama": Saved(
        "MllamaProcessor",
        lambda: pil("Mllama", size=PAIR, max_image_tiles=4),
        lambda: tokenizer("<|image|>", ["<|python_tag|>"]),
        "<|image|>",
    ),
    "vipllava": Saved(
        "LlavaProcessor",
        lambda: pil("CLIP", size={"shortest_edge": 32}, crop_size=PAIR),
        tokenizer,
        "<image>",
        {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
    ),
    "idefics2": Saved(
        "Idefics2Processor",
        lambda: pil("Idefics2", size={"shortest_edge": 32, "longest_edge": 32}, do_image_splitting=False),
        lambda: tokenizer("<image>", ["<fake_token_around_image>", "<end_of_utterance>"]),
        "<image>",
        {"image_seq_len": 8},
    ),
}
_WITH_VIDEO = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "smolvlm", "llava_onevision", "internvl")


def save_folder(name: str, folder: Path) -> None:
    """Write a family's tiny model and the files of its processor.

    Args:
        name: Key of ``FOLDERS``.
        folder: Where to write.
    """
    saved = FOLDERS[name]
    (FAMILIES | OTHERS)[name]().model.save_pretrained(folder)
    saved.words().save_pretrained(folder)
    written = folder / "tokenizer_config.json"
    config = json.loads(written.read_text(encoding="utf-8"))
    written.write_text(json.dumps(config | ({"extra_special_tokens": saved.names} if saved.names else {})))
    if saved.second:
        saved.words().save_pretrained(folder / "qformer_tokenizer")
    saved.images().save_pretrained(folder)
    if saved.image is not None:
        (folder / "chat_template.jinja").write_text(TEMPLATE.format(image=saved.image), encoding="utf-8")
    settings = {"processor_class": saved.processor} | saved.settings
    (folder / "processor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def load_folder(folder: Path, name: str) -> Any:
    """What `lv.load` makes of such a folder; without torchvision those with videos warn.

    Args:
        folder: Where it was saved.
        name: Key of ``FOLDERS``.
    """
    if name not in _WITH_VIDEO:
        return lv.load(folder)
    with pytest.warns(UserWarning, match=rf"{FOLDERS[name].processor} is loaded for images only.*pip install"):
        return lv.load(folder)
