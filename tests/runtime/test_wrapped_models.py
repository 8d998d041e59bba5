"""PEFT models and compiled ones are unwrapped and edited like their model; other wrappers are refused at once."""

from typing import Any

import peft
import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import UnsupportedModelError
from lvlmscope.traces.trace import Trace
from tests.runtime.test_attachment import ALL, OPTIONS, generate
from tests.support import tiny_models
from tests.support.traced import from_inputs

# peft about transformers 5.23
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def lora(case: tiny_models.TinyCase) -> Any:
    """The model with LoRA on its query and value projections, of weights that matter."""
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return peft.get_peft_model(case.model, config).eval()


def run(model: Any, case: tiny_models.TinyCase) -> Any:
    return model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.logits, other.logits, strict=True))


@pytest.mark.parametrize("loaded", [False, True])
def test_a_peft_model_is_traced_and_edited_with_its_adapter(loaded: bool) -> None:
    case, plain = tiny_models.llava(), generate(tiny_models.llava())
    wrapper = lora(case)
    adapted = run(wrapper, case)
    assert not same(plain, adapted)
    model = lv.load((wrapper, tiny_models.processor()), check=False) if loaded else wrapper
    merged = lora(tiny_models.llava())
    merged.load_state_dict(wrapper.state_dict())
    merged = merged.merge_and_unload()
    for interventions in ((), ALL):
        found, expected = (from_inputs(m, case.inputs, interventions=interventions, **OPTIONS) for m in (model, merged))
        assert found.answer_ids.tolist() == expected.answer_ids.tolist()
        torch.testing.assert_close(found.attention, expected.attention, atol=1e-4, rtol=1e-3)
    with lv.intervene(model, *ALL) as handle:
        edited = run(wrapper, case)
    assert all(report["changed"] for report in handle.report())
    with lv.intervene(merged, *ALL):
        expected = merged.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
    for a, b in zip(edited.logits, expected.logits, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    assert same(run(wrapper, case), adapted)


def test_a_peft_method_of_virtual_tokens_is_refused() -> None:
    case = tiny_models.llava()
    config = peft.PromptTuningConfig(num_virtual_tokens=3, num_layers=3, token_dim=48, num_attention_heads=6)
    wrapper = peft.PeftModel(case.model, config)
    with pytest.raises(
        UnsupportedModelError, match=r"PROMPT_TUNING, which adds virtual tokens; .*trace the base model"
    ):
        lv.trace_inputs(wrapper, case.inputs)


def counting(graphs: list[int]) -> Any:
    """A compiler that runs the graph as it is, and counts."""

    def compiler(graph: Any, _: Any) -> Any:
        def compiled(*args: Any) -> Any:
            graphs.append(1)
            return graph(*args)

        return compiled

    return compiler


@pytest.mark.slow
@pytest.mark.parametrize("way", ["wrapper", "in place", "forward", "layers"])
def test_a_compiled_model_runs_its_original_while_something_is_attached(way: str) -> None:
    torch.compiler.reset()  # after eight other models of this process torch compiles this code no more
    case, plain = tiny_models.llava(), tiny_models.llava()
    graphs: list[int] = []
    backend = counting(graphs)
    outer: Any = case.model
    if way == "wrapper":
        outer = torch.compile(case.model, backend=backend)
    elif way == "in place":
        case.model.compile(backend=backend)
    elif way == "forward":
        case.model.forward = torch.compile(case.model.forward, backend=backend)
    else:
        for layer in case.model.model.language_model.layers:
            layer.compile(backend=backend)
    with torch.no_grad():
        outer(**case.inputs)
        assert graphs
        calls = len(graphs)
        outer(**case.inputs)
        per_call = len(graphs) - calls
        expected = from_inputs(plain.model, case.inputs, interventions=ALL, **OPTIONS)
        graphs.clear()
        found = from_inputs(outer, case.inputs, interventions=ALL, **OPTIONS)
        assert isinstance(found, Trace)
        assert torch.equal(found.attention, expected.attention)
        with lv.intervene(plain.model, *ALL):
            logits = plain.model(**case.inputs).logits
        with lv.intervene(outer, *ALL) as handle:
            edited = outer(**case.inputs).logits
        assert torch.equal(edited, logits)
        assert all(report["changed"] for report in handle.report())
        assert not graphs
        outer(**case.inputs)
    assert len(graphs) == per_call  # what was compiled before is run again, and nothing anew


class Lightning(torch.nn.Module):
    """A wrapper as training libraries make it."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net


@pytest.mark.parametrize(
    ("wrapper", "inner"), [(torch.nn.DataParallel, "module"), (Lightning, "net"), (torch.nn.Sequential, "0")]
)
def test_other_wrappers_are_refused_before_anything_runs(wrapper: Any, inner: str) -> None:
    case = tiny_models.llava()
    ran: list[int] = []
    case.model.register_forward_pre_hook(lambda *_: ran.append(1))
    wrapped = wrapper(case.model)
    told = rf"got {wrapper.__name__} around a model; .*pass model\.{inner}"
    for call in (
        lambda: lv.trace_inputs(wrapped, case.inputs),
        lambda: lv.attach(wrapped, *ALL),
        lambda: lv.load((wrapped, tiny_models.processor())),
        lambda: lv.check(wrapped, inputs=case.inputs),
    ):
        with pytest.raises(UnsupportedModelError, match=told):
            call()
    assert not ran
