"""The contract of all interventions in models whose attention differs from LLaVA's: M-RoPE, windows, tiles."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from lvlmscope.interventions import OPERA, SGRS, DeCo, DoLa, HalluRNN, LocoRE, Steering
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.trace import Trace
from tests.contract.test_interventions import IDENTITIES, INTERVENTIONS, OPTIONS, STEPS
from tests.support import tiny_models
from tests.support.depth_cells import saved
from tests.support.planted_directions import planted_directions
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

NAMES = ("qwen2_5_vl", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma3", "smolvlm")))
in_each_family = pytest.mark.parametrize("name", NAMES)
each_intervention = pytest.mark.parametrize("intervention", INTERVENTIONS.values(), ids=INTERVENTIONS)


def fitting(intervention: Intervention, model: Any) -> Intervention:
    """The intervention, with a cell or directions of the model where it has one."""
    if isinstance(intervention, Steering):
        return replace(intervention, directions=planted_directions(model))
    if not isinstance(intervention, HalluRNN):
        return intervention
    return replace(intervention, cell=saved(model.config.get_text_config().hidden_size))


def generate(model: Any, inputs: dict[str, Any], **options: Any) -> Any:
    return model.generate(**inputs, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True)


@in_each_family
def test_strength_zero_is_the_untouched_model_to_the_last_bit(name: str) -> None:
    case = FAMILIES[name](2)
    plain = generate(case.model, case.inputs).logits
    for intervention in IDENTITIES.values():
        with intervene(case.model, fitting(intervention, case.model)):
            edited = generate(case.model, case.inputs).logits
        assert all(torch.equal(a, b) for a, b in zip(plain, edited, strict=True)), intervention


@in_each_family
@each_intervention
def test_a_padded_batch_is_replayed_and_each_sample_is_edited_as_alone(name: str, intervention: Intervention) -> None:
    case = FAMILIES[name](2)
    intervention = fitting(intervention, case.model)
    batch = from_inputs(case.model, case.inputs, interventions=[intervention], **OPTIONS)
    assert isinstance(batch, list)
    assert batch[0].effects[0]["changed"]
    for traced, sample in zip(batch, case.samples, strict=True):
        assert traced.provenance["replay"]["difference"] < 1e-4
        alone = from_inputs(case.model, sample, interventions=[intervention], **OPTIONS)
        assert isinstance(alone, Trace)
        assert traced.answer_ids.tolist() == alone.answer_ids.tolist()
        torch.testing.assert_close(traced.attention, alone.attention, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(traced.log_probs, alone.log_probs, atol=1e-5, rtol=1e-4)


@in_each_family
@each_intervention
def test_beams_and_samples_and_nothing_left_behind(name: str, intervention: Intervention) -> None:
    case = FAMILIES[name](2)
    plain = generate(case.model, case.inputs).sequences  # generate itself leaves attributes behind
    before = tiny_models.footprint(case.model)
    with intervene(case.model, fitting(intervention, case.model)):
        if not isinstance(intervention, SGRS):  # which refuses beams
            batch = generate(case.model, case.inputs, num_beams=2).sequences[:, -STEPS:].tolist()
            alone = [generate(case.model, one, num_beams=2).sequences[0, -STEPS:].tolist() for one in case.samples]
            assert batch == alone
        drawn = []
        for _ in range(2):
            torch.manual_seed(3)
            drawn.append(generate(case.model, case.inputs, do_sample=True).sequences.tolist())
        assert drawn[0] == drawn[1]
    assert tiny_models.footprint(case.model) == before
    assert torch.equal(generate(case.model, case.inputs).sequences, plain)


@in_each_family
@each_intervention
def test_an_exception_inside_generate_leaves_nothing_behind(name: str, intervention: Intervention) -> None:
    case = FAMILIES[name]()
    plain = generate(case.model, case.inputs).logits
    before = tiny_models.footprint(case.model)

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), intervene(case.model, fitting(intervention, case.model)):
        generate(case.model, case.inputs, stopping_criteria=[stop])
    assert tiny_models.footprint(case.model) == before
    assert all(torch.equal(a, b) for a, b in zip(plain, generate(case.model, case.inputs).logits, strict=True))


@in_each_family
def test_a_stack_nested_in_another_is_replayed_and_touches_no_other_model(name: str) -> None:
    case, other = FAMILIES[name](), FAMILIES[name](seed=1)
    plain = generate(other.model, other.inputs).logits
    outer, *inner = (fitting(intervention, case.model) for intervention in INTERVENTIONS.values())
    with intervene(case.model, outer) as handle:
        once = generate(case.model, case.inputs).logits
        stacked = from_inputs(case.model, case.inputs, interventions=inner, **OPTIONS)
        untouched = generate(other.model, other.inputs).logits
        again = generate(case.model, case.inputs).logits
        assert handle.report()[0]["changed"]
    assert isinstance(stacked, Trace)
    assert stacked.provenance["replay"]["difference"] < 1e-4
    assert [effect["name"] for effect in stacked.effects] == list(INTERVENTIONS)
    assert all(effect["changed"] for effect in stacked.effects)
    assert all(torch.equal(a, b) for a, b in zip(plain, untouched, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.filterwarnings("ignore:.* does nothing. the prompt holds no image", "ignore:.* changed nothing in")
@pytest.mark.parametrize("name", ["llava", *NAMES])
@each_intervention
def test_a_prompt_without_an_image_is_left_to_the_interventions_that_need_none(
    name: str, intervention: Intervention
) -> None:
    case = FAMILIES[name]()
    text = {"input_ids": torch.randint(5, 190, (1, 9)), "attention_mask": torch.ones(1, 9, dtype=torch.int64)}
    changed = "scores" if isinstance(intervention, DeCo | DoLa | OPERA) else "logits"
    plain = generate(case.model, text, output_scores=True)[changed]
    with intervene(case.model, fitting(intervention, case.model)) as handle:
        edited = generate(case.model, text, output_scores=True)[changed]
    needs_none = isinstance(intervention, LocoRE | HalluRNN | Steering | DeCo | DoLa | OPERA)
    assert handle.report()[0]["changed"] == needs_none
    same = all(torch.equal(a, b) for a, b in zip(plain, edited, strict=True))
    assert same != needs_none
