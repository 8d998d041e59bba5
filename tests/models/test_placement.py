"""Models whose weights are spread by a device map or fetched when needed: the same rows, gradients and maps."""

from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from accelerate import cpu_offload

import lvlmscope as lv
from lvlmscope.tiny import scene
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_models import SUPPRESSED
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 3, "progress": False, "suppress_tokens": SUPPRESSED}
SPREAD = ("llava", "qwen2_5_vl", "gemma3")


def some_layers_on_disk(model: torch.nn.Module) -> dict[str, str]:
    away = [name for name, _ in model.named_modules() if name.endswith("language_model.layers.1")]
    plan = dict.fromkeys(away, "disk")

    def place(module: torch.nn.Module, path: str) -> None:
        for name, child in module.named_children():
            full = f"{path}{name}"
            if any(one.startswith(f"{full}.") for one in away):
                place(child, f"{full}.")
            elif full not in plan:
                plan[full] = "cpu"

    place(model, "")
    return plan


def assert_same(spread: Any, name: str) -> None:
    case = FAMILIES[name]()
    spread.generation_config = case.model.generation_config
    for options in ({"gradients": True}, {"interventions": [lv.LocoRE()]}):
        whole = from_inputs(case.model, case.inputs, **options, **OPTIONS)
        found = from_inputs(spread, case.inputs, **options, **OPTIONS)
        assert torch.equal(found.attention, whole.attention)
        assert torch.equal(found.answer_ids, whole.answer_ids)
        assert whole.gradient is None or torch.equal(found.gradient, whole.gradient)


@pytest.mark.parametrize("name", SPREAD)
def test_layers_on_disk_by_a_device_map(name: str, tmp_path: Path) -> None:
    model = FAMILIES[name]().model
    model.save_pretrained(tmp_path / "model")
    plan = some_layers_on_disk(model)
    spread = type(model).from_pretrained(tmp_path / "model", device_map=plan, offload_folder=tmp_path / "disk").eval()
    assert "disk" in spread.hf_device_map.values()
    assert_same(spread, name)


@pytest.mark.parametrize("name", SPREAD)
def test_weights_fetched_when_needed(name: str) -> None:
    spread = FAMILIES[name]().model
    cpu_offload(spread, execution_device=torch.device("cpu"))
    assert spread.device.type == "meta"
    assert_same(spread, name)


def test_lenses_and_second_opinions_where_weights_are_fetched() -> None:
    shown, found = scene("prior", 0), []
    for offloaded in (False, True):
        model = lv.load("tiny", check=False)
        if offloaded:
            cpu_offload(model.model, execution_device=torch.device("cpu"))
        traced = lv.trace(
            model, shown.image, "Describe the image.", answer="A handbag", hidden_states=True, progress=False
        )
        found.append(
            (
                lv.logit_lens(traced, model)["log_prob"],
                lv.internal_confidence(traced, model),
                lv.occlusion(traced, model, words="handbag", patches=(1, 2)),
                lv.integrated_gradients(traced, model, words="handbag", n_steps=2),
            )
        )
    assert model.model.device.type == "meta"
    for whole, fetched in zip(*found, strict=True):
        xr.testing.assert_identical(whole, fetched)
