"""Edits of MLP outputs: against full forwards without a cache, in replays, and what has no MLP to edit."""

from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import UnsupportedModelError
from lvlmscope.hooks.mlp_outputs import MLPHooks, mlp_of
from lvlmscope.models.families import family_of
from lvlmscope.runtime.attachment import intervene
from tests.support import tiny_models
from tests.support.scripted_sessions import Scripted
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs
from tests.support.uncached import Inputs, logits_of

STEPS, LAYER = 4, 1
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}
NAMED = ["llava", "qwen2_5_vl", "gemma3", "smolvlm"]


def shifted(layer: int, output: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
    """The predicting rows of one layer, turned by one place and halved."""
    if layer != LAYER:
        return None
    new = output.clone()
    new[:, rows] = 0.5 * output[:, rows].roll(1, -1)
    return new


def twin(case: Any, inputs: Inputs, answer: torch.Tensor) -> torch.Tensor:
    """Logits of each step by full forwards, with a hook of torch's own on the module by its name."""
    first = inputs["input_ids"].shape[1] - 1

    def turn(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:, :first], output[:, first:].roll(1, -1) / 2], 1)

    mlp: Any = family_of(case.model).decoder_layers(case.model)[LAYER].mlp
    handle = mlp.register_forward_hook(turn)
    try:
        return torch.tensor(logits_of(case.model, inputs, answer))
    finally:
        handle.remove()


@pytest.mark.parametrize("options", [{}, {"do_sample": True}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("family", NAMED)
def test_each_step_is_that_of_a_full_forward(family: str, batch: int, options: dict[str, Any]) -> None:
    case = FAMILIES[family](batch)
    torch.manual_seed(0)
    with intervene(case.model, Scripted(edit_mlp=shifted)) as handle:
        made = case.model.generate(
            **case.inputs, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True
        )
    (report,) = handle.report()
    assert report["changed"]
    assert report["edited_mlps"] == [LAYER]
    found = torch.stack(made.logits, 1)
    for index, inputs in enumerate(case.samples):
        expected = twin(case, inputs, made.sequences[index, -STEPS:])
        torch.testing.assert_close(found[index].double(), expected.double(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [*NAMED, "instructblip"])
def test_a_replay_edits_as_generate_did(family: str) -> None:
    case = FAMILIES[family](1)
    plain = from_inputs(case.model, case.inputs, **OPTIONS)
    edited = from_inputs(case.model, case.inputs, interventions=[Scripted(edit_mlp=shifted)], **OPTIONS)
    assert edited.provenance["replay"]["difference"] < 1e-4
    assert not torch.allclose(edited.log_probs[0], plain.log_probs[0], atol=1e-4)
    assert edited.effects[0]["edited_mlps"] == [LAYER]
    assert "edited the MLPs of 1 layers over" in str(lv.effect(plain, edited))


def test_gradients_pass_through_an_edit() -> None:
    case = FAMILIES["llava"](1)
    made = from_inputs(case.model, case.inputs, interventions=[Scripted(edit_mlp=shifted)], gradients=True, **OPTIONS)
    assert made.gradient is not None
    assert (made.gradient[:, LAYER - 1] != 0).any()


class Layer(torch.nn.Module):
    """A decoder layer with children of these names."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, torch.nn.Linear(3, 3))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("self_attn", "mlp", "input_layernorm"), "mlp"),
        (("feed_forward", "pre_feedforward_layernorm"), "feed_forward"),
        (("fc1", "fc2"), "fc2"),
        (("mlp", "mlp_input", "mlp_sconv", "ffn_hc"), "mlp"),
        (("block_sparse_moe", "resid_mlp_dropout"), "block_sparse_moe"),
        (("mlp", "router", "experts"), None),  # the layer's own forward adds both
        (("self_attn",), None),
    ],
)
def test_what_is_the_mlp_of_a_layer(names: tuple[str, ...], found: str | None) -> None:
    layer = Layer(*names)
    assert mlp_of(layer) is (None if found is None else getattr(layer, found))


@pytest.mark.parametrize("form", ["tensor", "tuple", "flat"])
def test_an_output_keeps_its_form(form: str) -> None:
    output, router = torch.rand(2, 3, 4), torch.rand(5)

    class Experts(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return {"tensor": x, "tuple": (x, router), "flat": x.flatten(0, 1)}[form]

    layer = torch.nn.Module()
    layer.mlp = Experts()
    hooks = MLPHooks([layer], lambda _, shown: shown + 1)
    hooks.set(True)
    hooks.set(True)
    found = layer.mlp(output)
    first = found[0] if form == "tuple" else found
    assert torch.equal(first.reshape(output.shape), output + 1)
    if form == "tuple":
        assert found[1] is router
    hooks.set(False)
    assert not layer.mlp._forward_hooks


def test_a_layer_without_an_mlp_is_refused_by_name_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES["llava"](1)
    layer: Any = family_of(case.model).decoder_layers(case.model)[2]
    monkeypatch.setitem(layer._modules, "second_mlp", torch.nn.Linear(2, 2))
    before = tiny_models.footprint(case.model)
    match = r"LlavaForConditionalGeneration, in whose layer 2 \(LlamaDecoderLayer\) no MLP is found"
    with pytest.raises(UnsupportedModelError, match=match), intervene(case.model, Scripted(edit_mlp=shifted)):
        pass
    assert tiny_models.footprint(case.model) == before
