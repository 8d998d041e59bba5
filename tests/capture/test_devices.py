"""Where inputs go: beside the model's first weights, and to the CPU where these wait elsewhere ("meta")."""

import torch

from lvlmscope.capture.generation import _on_device
from lvlmscope.capture.inputs_from_trace import _first_device, _placed
from tests.support import tiny_models


def test_inputs_stay_where_they_are_for_weights_that_wait_elsewhere() -> None:
    case = tiny_models.llava()
    assert _first_device(case.model) == torch.device("cpu")
    moved = _on_device(case.model, case.inputs | {"use_cache": True})
    assert moved["use_cache"] is True
    assert moved["input_ids"] is case.inputs["input_ids"]
    waiting = case.model.to("meta")
    assert _first_device(waiting) == torch.device("cpu")
    found = _on_device(waiting, case.inputs)
    assert {name: value.device.type for name, value in found.items()} == dict.fromkeys(case.inputs, "cpu")


def test_inputs_follow_the_model() -> None:
    inputs = {"pixel_values": torch.ones(1), "input_ids": torch.ones(1, dtype=torch.long)}
    model = torch.nn.Linear(1, 1)
    model.device = torch.device("cpu")  # type: ignore[assignment]
    assert set(_on_device(model, inputs)) == set(inputs)
    device = torch.device("meta")
    assert _placed(inputs["pixel_values"], device, torch.float16).dtype == torch.float16
    assert _placed(inputs["pixel_values"], device, torch.float16).device == device
    assert _placed(inputs["input_ids"], device, torch.float16).dtype == torch.long  # ids are never rounded
    assert _placed("text", device, torch.float16) == "text"
