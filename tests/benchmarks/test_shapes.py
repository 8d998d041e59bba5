"""Models that are built for measurements: sizes on the meta device, where no weight takes memory."""

import pytest
import torch

from benchmarks.shapes import SHAPES, build, repeated


@pytest.mark.parametrize(("name", "billions", "image"), [("llava-7b", 7.06, 576), ("qwen-7b", 8.29, 2_500)])
def test_a_7b_shape_has_the_size_and_the_image_tokens_of_its_model(name: str, billions: float, image: int) -> None:
    prepared = build(name, device="meta", dtype=torch.bfloat16)
    parameters = list(prepared.model.parameters())
    assert round(sum(each.numel() for each in parameters) / 1e9, 2) == billions
    assert {each.dtype for each in parameters} == {torch.bfloat16}
    assert {each.device.type for each in parameters} == {"meta"}
    assert prepared.inputs["pixel_values"].dtype == torch.bfloat16
    assert prepared.device.type == "meta"
    assert prepared.inputs["input_ids"].shape[1] in {image + 26, image + 28}


@pytest.mark.parametrize("name", ["llava", "qwen"])
def test_a_prompt_holds_as_many_image_tokens_as_its_description_says(name: str) -> None:
    prepared = build(name)
    config = prepared.model.config
    count = int((prepared.inputs["input_ids"] == config.image_token_id).sum())
    assert f"{count:,} image tokens" in SHAPES[name].about


def test_a_model_in_half_precision_generates_and_the_default_type_stays() -> None:
    prepared = build("smallest", dtype=torch.bfloat16)
    assert torch.get_default_dtype() == torch.float32
    inputs = repeated(prepared.inputs, 3)
    assert prepared.model.generate(**inputs, max_new_tokens=2, min_new_tokens=2).shape[0] == 3
