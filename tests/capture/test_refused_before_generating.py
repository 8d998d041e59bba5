"""What cannot be traced is refused before the model runs at all."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import LvlmscopeError
from tests.support import tiny_models
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs


class Linear8bitLt(torch.nn.Linear):
    """A linear layer with the state of bitsandbytes' layer of that name."""

    threshold = 6.0

    @property
    def state(self) -> Any:
        return SimpleNamespace(threshold=self.threshold)


def int8(model: Any, threshold: float) -> None:
    layer = model.model.language_model.layers[1].mlp.down_proj
    layer.__class__ = type("Linear8bitLt", (Linear8bitLt,), {"threshold": threshold})


def quantised(model: Any) -> None:
    model.hf_quantizer = SimpleNamespace(is_trainable=False)


NOTHING: dict[str, Any] = {}
CASES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "flex": (lambda model: model.set_attn_implementation("flex_attention"), NOTHING, "flex_attention kernels"),
    "int8": (lambda model: int8(model, 6.0), NOTHING, r"down_proj in 8 bits .*llm_int8_threshold=0\.0"),
    "no backward": (quantised, {"gradients": True}, "SimpleNamespace, whose kernels have no backward"),
    "guidance": (lambda _: None, {"guidance_scale": 1.5}, "guidance_scale=1.5"),
    "assistant": (lambda _: None, {"assistant_model": torch.nn.Linear(1, 1)}, "got assistant_model"),
    "layerwise": (
        lambda _: None,
        {"gradients": True, "interventions": [lv.DLEAF()], "max_memory": "LAYERWISE"},
        "an intervention that is on",
    ),
}


def count_forwards(model: Any) -> list[int]:
    ran: list[int] = []
    for module in model.modules():
        module.register_forward_pre_hook(lambda *_: ran.append(1))
    return ran


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_before_any_module_runs(name: str) -> None:
    change, options, told = CASES[name]
    case = tiny_models.llava()
    change(case.model)
    ran = count_forwards(case.model)
    if options.get("max_memory") == "LAYERWISE":
        sizes: dict[str, Any] = {"inputs": case.inputs, "max_new_tokens": 6, "gradients": True}
        options = options | {"max_memory": lv.estimate(case.model, layerwise=True, **sizes).peak}
    with pytest.raises(LvlmscopeError, match=told):
        from_inputs(case.model, case.inputs, max_new_tokens=6, **options)
    assert not ran


def test_recurrent_layers_are_refused_one_layer_at_a_time_before_any_module_runs() -> None:
    case = OTHERS["qwen3_5"]()
    sizes: dict[str, Any] = {"inputs": case.inputs, "max_new_tokens": 6, "gradients": True}
    limit = lv.estimate(case.model, layerwise=True, **sizes).peak
    assert limit < lv.estimate(case.model, **sizes).peak
    ran = count_forwards(case.model)
    with pytest.raises(LvlmscopeError, match="got recurrent layers"):
        from_inputs(case.model, case.inputs, max_new_tokens=6, gradients=True, max_memory=limit)
    assert not ran


def test_inference_mode_with_gradients_is_refused_before_any_module_runs() -> None:
    case = tiny_models.llava()
    ran = count_forwards(case.model)
    with torch.inference_mode(), pytest.raises(LvlmscopeError, match=r"use torch\.no_grad"):
        from_inputs(case.model, case.inputs, max_new_tokens=6, gradients=True)
    assert not ran


def test_8_bits_without_outliers_are_traced() -> None:
    case = tiny_models.llava()
    int8(case.model, 0.0)
    assert from_inputs(case.model, case.inputs, max_new_tokens=3, min_new_tokens=3).num_steps == 3
