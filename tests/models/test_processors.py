"""An image and a prompt through a family's own processor, traced and drawn: every image token has its box."""

from typing import Any

import pytest
import transformers as tf

import lvlmscope as lv
from tests.support.planted_squares import PAIR, POINTS, image, pil
from tests.support.processors import PLACES, tokenizer
from tests.support.tiny_families import FAMILIES

MARKERS = {
    "idefics3": ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *PLACES],
    "aya_vision": ["TILE_GLOBAL", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "TILE_1", "TILE_2"],
}


def llava_next() -> Any:
    images = pil("LlavaNext", size={"shortest_edge": 32}, crop_size=PAIR, image_grid_pinpoints=POINTS)
    options = {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    return tf.LlavaNextProcessor(image_processor=images, tokenizer=tokenizer(), **options)


def idefics3() -> Any:
    images = pil("Idefics3", size={"longest_edge": 96}, max_image_size={"longest_edge": 32})
    words = tokenizer("<image>", MARKERS["idefics3"])
    return tf.Idefics3Processor(image_processor=images, tokenizer=words, image_seq_len=16)


def gemma3() -> Any:
    words = tokenizer("<soft>", ["<boi>", "<eoi>"], boi_token="<boi>", eoi_token="<eoi>", image_token="<soft>")
    return tf.Gemma3Processor(image_processor=pil("Gemma3", size=PAIR), tokenizer=words, image_seq_length=16)


def paligemma() -> Any:
    images = pil("Siglip", size=PAIR, image_seq_length=16)
    return tf.PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer())


def aya_vision() -> Any:
    images, words = pil("GotOcr2", size=PAIR, max_patches=2), tokenizer("<|IMG_PATCH|>", MARKERS["aya_vision"])
    sizes = {"patch_size": 4, "img_size": 32, "downsample_factor": 2}
    return tf.AyaVisionProcessor(image_processor=images, tokenizer=words, **sizes)


# transformers' PaliGemmaProcessor calls np.array on a tensor, which numpy 2 warns of
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "prompt", "tiles"),
    [
        (llava_next, "<image> w5 w6", {0, 1}),
        (idefics3, "<image> w5 w6", set(range(7))),
        (gemma3, "<boi> w5 w6", {0}),
        (paligemma, "<image> w5 w6", {0}),
        (aya_vision, "<image> w5 w6", {0, 1, 2}),
    ],
)
def test_a_image_is_traced_and_drawn(make, prompt, tiles):
    model = FAMILIES[make.__name__]().model
    if make is llava_next:
        model.config.image_grid_pinpoints = POINTS
    traced = lv.trace(model, image((73, 151), (20, 20, 40, 40)), prompt, processor=make(), max_new_tokens=2)
    (layout,) = traced.layout.images
    assert (layout.reason, layout.size, layout.pixels, layout.grid) == ("", (73, 151), "image", (4, 4))
    assert {cell.tile for cell in layout.cells} == tiles
    assert [cell.key for cell in layout.cells] == traced.image_keys.nonzero().flatten().tolist()
    figure = lv.plot.overlay(traced, 0)
    assert figure.axes[0].images
