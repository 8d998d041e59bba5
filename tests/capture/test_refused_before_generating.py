"""What cannot be traced is refused before the model runs at all."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import LvlmscopeError
from tests.support import depth_cells, tiny_models
from tests.support.tiny_others import OTHERS
from tests.support.tiny_rest import REST
from tests.support.tiny_streams import STREAMS, UNEQUAL
from tests.support.traced import from_inputs


def dropping(model: Any) -> None:
    model.train()
    model.model.language_model.layers[1].self_attn.attention_dropout = 0.1


def quantised(model: Any) -> None:
    model.hf_quantizer = SimpleNamespace(is_trainable=False)


STREAMED = STREAMS | {name: REST[name] for name in ("glm5_next", "qwen4_exp")}
NOTHING: dict[str, Any] = {}
CASES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "flex": (lambda model: model.set_attn_implementation("flex_attention"), NOTHING, "flex_attention kernels"),
    "train mode": (dropping, NOTHING, r"layers\.1\.self_attn in train mode with dropout 0\.1.*model\.eval"),
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


def test_autocast_is_refused_before_any_module_runs() -> None:
    case = tiny_models.llava()
    ran = count_forwards(case.model)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(LvlmscopeError, match=r"torch\.autocast on cpu"):
        from_inputs(case.model, case.inputs, max_new_tokens=6)
    assert not ran


def test_train_mode_without_dropout_is_traced() -> None:
    case = tiny_models.llava()
    case.model.train()
    assert from_inputs(case.model, case.inputs, max_new_tokens=3, min_new_tokens=3).num_steps == 3
    assert case.model.training


@pytest.mark.parametrize("name", STREAMED)
def test_hidden_states_of_parallel_streams_are_refused_before_any_module_runs(name: str) -> None:
    case = STREAMED[name](1)
    ran = count_forwards(case.model)
    with pytest.raises(LvlmscopeError, match=r"trace hidden states: got .* parallel residual streams"):
        from_inputs(case.model, case.samples[0], max_new_tokens=3, hidden_states=True)
    with pytest.raises(LvlmscopeError, match=r"estimate hidden states: got .* parallel residual streams"):
        lv.estimate(case.model, inputs=case.samples[0], hidden_states=True)
    rnn = lv.HalluRNN(cell=depth_cells.lively(case.model.get_decoder().config.hidden_size))
    told = r"edits hidden states: got .* parallel residual streams"
    with pytest.raises(LvlmscopeError, match=told), lv.intervene(case.model, rnn):
        pass
    assert not ran


@pytest.mark.parametrize("name", ["step3p7", "dots3_note"])
def test_layers_with_unequal_heads_are_refused_by_name_before_any_module_runs(name: str) -> None:
    model = UNEQUAL[name]()
    ran = count_forwards(model)
    inputs = {"input_ids": torch.tensor([[1, tiny_models.IMAGE, 7]]), "attention_mask": torch.tensor([[1, 1, 1]])}
    for call in (from_inputs, lambda *given, **rest: lv.estimate(given[0], inputs=given[1], **rest)):
        with pytest.raises(LvlmscopeError, match="whose layers have 4 or 6 heads"):
            call(model, inputs, max_new_tokens=3)
    assert not ran
