"""Models whose speed is measured, and a prompt for each: random weights in known shapes, made on the device itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

__all__ = ["SHAPES", "Prepared", "Shape", "build", "repeated"]

_LLAVA_TOKENS: Final = 31_999
_QWEN: Final[dict[str, Any]] = {"image_token_id": 151_655, "video_token_id": 151_656}
_QWEN_MARKS: Final[dict[str, Any]] = {"vision_start_token_id": 151_652, "vision_end_token_id": 151_653}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model and a prompt of one sample with an image.

    Attributes:
        name: Name of the shape.
        model: The bare model, without gradients to its weights.
        inputs: What its `generate` takes.
    """

    name: str
    model: Any
    inputs: dict[str, torch.Tensor]

    @property
    def device(self) -> torch.device:
        """Where it is."""
        found: torch.device = self.inputs["input_ids"].device
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model that can be built.

    Attributes:
        about: What it is, for the page.
        model: Makes the model, on torch's default device and in its default type.
        inputs: Makes the prompt.
    """

    about: str
    model: Callable[[], Any]
    inputs: Callable[[], dict[str, torch.Tensor]]


def _llava(
    text: Mapping[str, Any], vision: Mapping[str, Any], *, image: int = _LLAVA_TOKENS, size: int = 336
) -> Callable[[], Any]:
    def make() -> Any:
        from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

        tower = CLIPVisionConfig(image_size=size, patch_size=14, **vision)
        options: dict[str, Any] = {
            "vision_config": tower,
            "text_config": LlamaConfig(**text),
            "image_token_index": image,
        }
        return LlavaForConditionalGeneration(LlavaConfig(**options))

    return make


def _qwen(text: Mapping[str, Any], vision: Mapping[str, Any], sections: list[int]) -> Callable[[], Any]:
    def make() -> Any:
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
        tower = {"patch_size": 14, "window_size": 112, "out_hidden_size": text["hidden_size"]} | dict(vision)
        options: dict[str, Any] = {"text_config": {"rope_parameters": rope} | dict(text), "vision_config": tower}
        return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**options, **_QWEN, **_QWEN_MARKS))

    return make


def _llava_prompt(image: int = _LLAVA_TOKENS, tokens: int = 576, size: int = 336) -> dict[str, torch.Tensor]:
    """26 text tokens around one image."""
    words = torch.arange(26) % 70 + 5
    ids = torch.cat([words[:6], torch.full((tokens,), image), words[6:]])[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, 3, size, size)}


def _qwen_prompt(side: int = 100) -> dict[str, torch.Tensor]:
    """26 text tokens around one image of side x side patches, four of which are one token."""
    words, image = torch.arange(26) % 70 + 5, _QWEN["image_token_id"]
    block = torch.full((side * side // 4,), image)
    marks = torch.tensor([[_QWEN_MARKS["vision_start_token_id"]], [_QWEN_MARKS["vision_end_token_id"]]])
    ids = torch.cat([words[:6], marks[0], block, marks[1], words[6:]])[None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(side * side, 3 * 2 * 14 * 14),
        "image_grid_thw": torch.tensor([[1, side, side]]),
        "mm_token_type_ids": (ids == image).long(),
    }


def _sizes(hidden: int, between: int, layers: int, heads: int) -> dict[str, int]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return dict(zip(names, (hidden, between, layers, heads), strict=True))


_QWEN_7B_TOWER: Final = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
SHAPES: Final[Mapping[str, Shape]] = {
    "llava": Shape(
        about="random LLaVA, 8 layers x 16 heads, hidden size 512, 576 image tokens",
        model=_llava(_sizes(512, 1024, 8, 16), _sizes(64, 128, 2, 4)),
        inputs=_llava_prompt,
    ),
    "qwen": Shape(
        about="random Qwen2.5-VL, 6 layers x 8 heads (2 for keys), hidden size 256, 2,500 image tokens",
        model=_qwen(
            _sizes(256, 512, 6, 8) | {"num_key_value_heads": 2},
            {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "fullatt_block_indexes": [1]},
            [4, 6, 6],
        ),
        inputs=_qwen_prompt,
    ),
    "long": Shape(
        about="random Qwen2.5-VL, 28 layers x 28 heads (4 for keys), hidden size 448, 2,500 image tokens",
        model=_qwen(
            _sizes(448, 896, 28, 28) | {"num_key_value_heads": 4, "vocab_size": 152_064},
            {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "fullatt_block_indexes": [1]},
            [2, 3, 3],
        ),
        inputs=_qwen_prompt,
    ),
    "llava-7b": Shape(
        about="LLaVA-1.5-7B's shape with random weights, 576 image tokens",
        model=_llava(
            _sizes(4096, 11_008, 32, 32) | {"vocab_size": 32_064}, _sizes(1024, 4096, 24, 16) | {"projection_dim": 768}
        ),
        inputs=_llava_prompt,
    ),
    "qwen-7b": Shape(
        about="Qwen2.5-VL-7B's shape with random weights, 2,500 image tokens",
        model=_qwen(
            _sizes(3584, 18_944, 28, 28) | {"num_key_value_heads": 4, "vocab_size": 152_064},
            _QWEN_7B_TOWER | {"fullatt_block_indexes": [7, 15, 23, 31]},
            [16, 24, 24],
        ),
        inputs=_qwen_prompt,
    ),
    "smallest": Shape(
        about="the smallest LLaVA that runs, to try the commands with",
        model=_llava(_sizes(32, 32, 4, 4) | {"vocab_size": 100}, _sizes(16, 16, 1, 2), image=99, size=28),
        inputs=lambda: _llava_prompt(99, 4, 28),
    ),
}


def build(name: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Prepared:
    """Make a model and its prompt on a device, where its weights are drawn: nothing is downloaded or copied there.

    Args:
        name: One of `SHAPES`.
        device: Device, also `"meta"`: sizes without storage.
        dtype: Type of weights and pixels.

    Returns:
        Both.
    """
    from transformers import GenerationConfig

    shape, before = SHAPES[name], torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model, inputs = shape.model(), shape.inputs()
    finally:
        torch.set_default_dtype(before)
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    return Prepared(name=name, model=model.eval().requires_grad_(requires_grad=False), inputs=inputs)


def repeated(inputs: Mapping[str, torch.Tensor], batch: int) -> dict[str, torch.Tensor]:
    """The same sample several times.

    Args:
        inputs: Inputs of one sample.
        batch: How many times.
    """
    return {name: value.repeat(batch, *[1] * (value.dim() - 1)) for name, value in inputs.items()}
