"""Answers whose rows a block would round another way are replayed as they were generated, forward by forward."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.capture import replay
from lvlmscope.errors import LvlmscopeError
from tests.support import tiny_models
from tests.support.traced import from_inputs
from tests.support.verify_models import CASES, OPTIONS

LONG: dict[str, Any] = OPTIONS | {"max_new_tokens": 24, "min_new_tokens": 24, "progress": False}
FEW: dict[str, Any] = OPTIONS | {"max_new_tokens": 5, "min_new_tokens": 5, "progress": False}


def cast(inputs: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Inputs whose real numbers have a dtype."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


@pytest.mark.parametrize("gradients", [False, True])
def test_experts_in_bf16_are_replayed_to_the_last_bit(gradients: bool) -> None:
    case = CASES["qwen3_vl_moe"](2)
    model = case.model.bfloat16()
    traces = lv.trace_inputs(model, cast(case.inputs, torch.bfloat16), gradients=gradients, **LONG)
    for each in traces:
        told = each.provenance["replay"]
        assert told["path"] == "steps"
        assert told["difference"] == 0
        assert "picks experts in bfloat16" in told["reason"]
        assert each.num_steps == 24
        torch.testing.assert_close(each.attention.sum(-1), torch.ones_like(each.attention[..., 0]), atol=1e-5, rtol=0)
        if gradients:
            assert (each.gradient.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", ["llava", "mllama", "qwen3_5", "gemma3"])
@pytest.mark.parametrize("keep", ["all", "image_answer"])
def test_steps_and_block_give_the_same_trace(name: str, keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name](2)
    wanted: dict[str, Any] = {"gradients": True, "hidden_states": True, "keep": keep}
    block = lv.trace_inputs(case.model, case.inputs, **wanted, **FEW)
    monkeypatch.setattr(replay, "steps_reason", lambda *_, **__: "asked for")
    steps = lv.trace_inputs(case.model, case.inputs, **wanted, **FEW)
    for one, other in zip(block, steps, strict=True):
        assert one.provenance["replay"]["path"] != "steps"
        assert other.provenance["replay"]["path"] == "steps"
        for field in ("attention", "gradient", "hidden_states", "image_scores", "log_probs"):
            torch.testing.assert_close(getattr(other, field), getattr(one, field), atol=1e-4, rtol=1e-4)


def test_an_intervention_edits_each_step_as_it_edits_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    case = tiny_models.llava(2)
    options = FEW | {"interventions": [lv.DLEAF(gamma=0.9)]}
    block = lv.trace_inputs(case.model, case.inputs, **options)
    monkeypatch.setattr(replay, "steps_reason", lambda *_, **__: "asked for")
    steps = lv.trace_inputs(case.model, case.inputs, **options)
    for one, other in zip(block, steps, strict=True):
        torch.testing.assert_close(other.attention, one.attention, atol=1e-5, rtol=1e-5)
        assert other.effects == one.effects


class Linear8bitLt(torch.nn.Linear):
    """As LLM.int8: what a row gives depends on the largest value of any row of the forward."""

    state = SimpleNamespace(threshold=6.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = x.abs().amax() / 127
        return super().forward((x / scale).round() * scale)


def test_8_bits_whose_rows_depend_on_each_other_are_replayed_to_the_last_bit() -> None:
    case = tiny_models.llava()
    case.model.model.language_model.layers[1].mlp.down_proj.__class__ = Linear8bitLt
    traced = from_inputs(case.model, case.inputs, gradients=True, **FEW)
    assert traced.provenance["replay"]["difference"] == 0
    assert "layers.1.mlp.down_proj in 8 bits (LLM.int8)" in traced.provenance["replay"]["reason"]


class Crowd(torch.nn.Linear):
    """Depends on the number of rows in a forward, and says nothing of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1 + 0.05 * x.shape[1])


def test_a_block_that_is_found_to_differ_is_followed_by_steps() -> None:
    case = tiny_models.llava()
    case.model.model.language_model.layers[1].mlp.down_proj.__class__ = Crowd
    traced = from_inputs(case.model, case.inputs, hidden_states=True, **FEW)
    told = traced.provenance["replay"]
    assert (told["path"], told["difference"]) == ("steps", 0)
    assert told["reason"].startswith("one block gave logits that differ by")


def test_one_layer_at_a_time_cannot_go_step_by_step() -> None:
    case = tiny_models.llava()
    case.model.model.language_model.layers[1].mlp.down_proj.__class__ = Crowd
    sizes: dict[str, Any] = {"inputs": case.inputs, "max_new_tokens": 5, "gradients": True}
    limit = lv.estimate(case.model, layerwise=True, **sizes).peak
    assert limit < lv.estimate(case.model, **sizes).peak
    with pytest.raises(LvlmscopeError, match=r"one layer at a time: got one block gave .*give more max_memory"):
        from_inputs(case.model, case.inputs, gradients=True, max_memory=limit, **FEW)


class Dice(torch.nn.Linear):
    """Another result every time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn(1)


def test_chance_in_the_model_is_named() -> None:
    case = tiny_models.llava()
    case.model.model.language_model.layers[1].mlp.down_proj.__class__ = Dice
    with pytest.raises(LvlmscopeError, match=r"the forwards of generate again.*what is random in the model"):
        from_inputs(case.model, case.inputs, **FEW)


def test_the_first_gradient_of_a_prefix_model_is_the_whole_derivative() -> None:
    case = CASES["paligemma"](1)
    model, inputs = case.model.double(), cast(case.samples[0], torch.float64)
    traced = from_inputs(model, inputs, gradients=True, **FEW)
    assert "see its last one" in traced.provenance["replay"]["reason"]
    model.set_attn_implementation("eager")
    output = model(**inputs, output_attentions=True)
    loss = -output.logits[0, -1].log_softmax(-1)[int(traced.answer_ids[0])]
    slopes = torch.stack([each[0, :, -1] for each in torch.autograd.grad(loss, output.attentions)])
    ours = traced.gradient[0, ..., : slopes.shape[-1]]
    torch.testing.assert_close(ours, slopes.float(), atol=1e-6, rtol=1e-5)


def test_a_prompt_that_ends_in_an_image_that_sees_itself_gives_the_whole_derivative() -> None:
    case = CASES["gemma3"](1)
    model, inputs = case.model.double(), cast(case.samples[0], torch.float64)
    end = int(inputs["token_type_ids"][0].nonzero()[-1]) + 1
    inputs |= {name: inputs[name][:, :end] for name in ("input_ids", "attention_mask", "token_type_ids")}
    traced = from_inputs(model, inputs, gradients=True, **FEW)
    assert "see its last one" in traced.provenance["replay"]["reason"]
    model.set_attn_implementation("eager")
    output = model(**inputs, output_attentions=True)
    loss = -output.logits[0, -1].log_softmax(-1)[int(traced.answer_ids[0])]
    slopes = torch.stack([each[0, :, -1] for each in torch.autograd.grad(loss, output.attentions)])
    seen = torch.stack([each[0, :, -1] for each in output.attentions]) > 0  # a trace shows the row's own keys only
    ours = traced.gradient[0, ..., :end]
    torch.testing.assert_close(ours, torch.where(seen, slopes, 0.0).float(), atol=1e-5, rtol=1e-5)
