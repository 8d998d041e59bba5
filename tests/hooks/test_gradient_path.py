"""Interventions that need gradients: what a third party's session gets in a forward of generate."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lvlmscope.errors import UnsupportedModelError
from lvlmscope.hooks.gradient_path import ForwardGraph
from lvlmscope.runtime.attachment import attach, intervene
from lvlmscope.runtime.protocol import ForwardInfo, ModelInfo, Session
from lvlmscope.traces.trace import Trace
from tests.support import tiny_families, tiny_models
from tests.support.traced import from_inputs

STEPS = 4
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}


class Watcher(Session):
    """Keeps the gradient of the most probable token in every forward, with that of its runner-up beside it."""

    def __init__(self, layers: tuple[int, ...]) -> None:
        self.layers = layers
        self.gradients: list[dict[int, torch.Tensor]] = []
        self.options: Mapping[str, Any] = {}

    def begin_generate(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def gradient_layers(self, forward: ForwardInfo) -> tuple[int, ...]:
        del forward
        return self.layers

    def on_graph(self, graph: ForwardGraph) -> None:
        logits = graph.logits.detach().float().clone()
        logits[:, tiny_models.SUPPRESSED] = float("-inf")
        slopes = []
        for place in range(2):
            slope = torch.softmax(graph.logits.detach().float(), -1)
            token = logits.topk(2, -1).indices[:, place : place + 1]
            slopes.append(slope.scatter_add(-1, token, torch.full_like(slope[:, :1], -1.0)))
        self.gradients.append(graph.gradients(torch.stack(slopes)))


class Watching:
    """An intervention that starts a given session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def start(self, model_info: ModelInfo) -> Session:
        del model_info
        return self.session

    def describe(self) -> dict[str, Any]:
        return {"name": "Watching", "reference": "", "parameters": {}}


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
@pytest.mark.parametrize("lowest", [0, 1])
def test_gradients_while_generating_are_those_of_the_trace(name: str, lowest: int) -> None:
    case = tiny_families.FAMILIES[name]()
    expected = from_inputs(case.model, case.inputs, gradients=True, **OPTIONS)
    assert isinstance(expected, Trace)
    assert expected.gradient is not None
    layers = tuple(range(lowest, expected.num_layers))
    watcher = Watcher(layers)
    with intervene(case.model, Watching(watcher)):
        case.model.generate(**case.inputs, **OPTIONS)
    assert len(watcher.gradients) == STEPS
    for step, found in enumerate(watcher.gradients):
        for layer in layers:
            ours = found[layer][0, 0]
            end = expected.prompt_length + step
            own = slice(end - ours.shape[-1], end)  # a windowed cache holds the last keys only
            seen = expected.attention[step, layer, :, own] != 0
            torch.testing.assert_close(ours * seen, expected.gradient[step, layer, :, own], atol=1e-4, rtol=1e-3)
            assert not torch.equal(found[layer][0], found[layer][1])


def test_each_of_several_gets_the_graph_that_it_asked_for() -> None:
    case = tiny_models.llava()
    alone = [Watcher((1,)), Watcher((0, 2))]
    for watcher in alone:
        with intervene(case.model, Watching(watcher)):
            case.model.generate(**case.inputs, **OPTIONS)
    together = [Watcher((1,)), Watcher(()), Watcher((0, 2))]
    with intervene(case.model, *map(Watching, together)):
        case.model.generate(**case.inputs, **OPTIONS)
    assert [len(each.gradients) for each in together] == [STEPS, 0, STEPS]
    assert all(each.options["max_new_tokens"] == STEPS for each in together)
    for own, beside in zip(alone, together[::2], strict=True):
        for expected, found in zip(own.gradients, beside.gradients, strict=True):
            assert set(found) == {0, 1, 2}  # one graph for all that ask
            for layer in expected:
                torch.testing.assert_close(found[layer], expected[layer])


def test_a_session_learns_the_settings_in_force() -> None:
    case = tiny_models.llava()
    watcher = Watcher(())
    with intervene(case.model, Watching(watcher)):
        case.model.generate(**case.inputs, **OPTIONS)
    assert watcher.options["max_new_tokens"] == STEPS
    assert watcher.options["eos_token_id"] == tiny_models.EOS
    assert watcher.gradients == []


def test_models_that_gradients_cannot_pass_are_refused_when_attached() -> None:
    class Quantiser:
        is_trainable = False

    case = tiny_models.llava()
    before = tiny_models.footprint(case.model)
    case.model.hf_quantizer = Quantiser()
    with pytest.raises(UnsupportedModelError, match="quantised by Quantiser"):
        attach(case.model, Watching(Watcher((0,))))
    del case.model.hf_quantizer
    assert tiny_models.footprint(case.model) == before
    case.model.config.text_config.layer_types = ["linear_attention"] * 3
    with pytest.raises(UnsupportedModelError, match="linear_attention layers"):
        attach(case.model, Watching(Watcher((0,))))


def test_kernels_without_a_batching_rule_are_differentiated_one_loss_at_a_time() -> None:
    class Plain(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
            assert ctx.saved_tensors
            return slope * float(slope.abs().sum().item() >= 0)  # a number out of a batch: vmap refuses

    case = tiny_models.llava()
    layers = case.model.model.language_model.layers
    found = []
    for function in (lambda x: x, Plain.apply):
        watcher = Watcher((1,))
        hook = layers[2].register_forward_hook(lambda _, __, output, f=function: f(output))
        with hook, intervene(case.model, Watching(watcher)):
            case.model.generate(**case.inputs, **OPTIONS)
        found.append(watcher.gradients)
    for batched, single in zip(*found, strict=True):
        torch.testing.assert_close(batched[1], single[1])
