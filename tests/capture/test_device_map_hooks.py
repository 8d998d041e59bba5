"""Accelerate's hooks on the layers outlive a layer-by-layer gradient trace, and run in it."""

from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module

import lvlmscope as lv
from tests.support import tiny_models
from tests.support.traced import from_inputs


class Counting(ModelHook):
    """As accelerate's own hooks of a device map: before each forward."""

    def __init__(self) -> None:
        self.calls = 0

    def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        self.calls += 1
        return args, kwargs


def test_hooks_of_a_device_map_stay_after_a_layerwise_gradient_trace() -> None:
    case = tiny_models.llava()
    options: dict[str, Any] = {"max_new_tokens": 6, "gradients": True}
    expected = from_inputs(case.model, case.inputs, **options)
    hooks = [Counting() for _ in case.model.model.language_model.layers]
    for layer, hook in zip(case.model.model.language_model.layers, hooks, strict=True):
        add_hook_to_module(layer, hook)
    held = [vars(layer)["forward"] for layer in case.model.model.language_model.layers]
    limit = lv.estimate(case.model, inputs=case.inputs, layerwise=True, **options).peak
    found = from_inputs(case.model, case.inputs, max_memory=limit, **options)
    assert found.provenance["replay"]["layerwise"]
    torch.testing.assert_close(found.gradient, expected.gradient, atol=1e-5, rtol=1e-4)
    assert [vars(layer)["forward"] for layer in case.model.model.language_model.layers] == held
    before = [hook.calls for hook in hooks]
    case.model(**case.inputs)
    assert [hook.calls for hook in hooks] == [calls + 1 for calls in before]
