"""What every intervention promises, whatever it does: one test for each common rule of methods 2."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lvlmscope.errors import InterventionError, UnsupportedOptionError
from lvlmscope.interventions import (
    ADHH,
    AGLA,
    CLVA,
    DLEAF,
    ICD,
    M3ID,
    OPERA,
    PAI,
    SGRS,
    SPIN,
    VCD,
    DeCo,
    DoLa,
    HalluRNN,
    HeadRescaling,
    LocoRE,
    Steering,
    list_interventions,
    load_interventions,
    save_interventions,
)
from lvlmscope.runtime.attachment import attach, intervene
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.depth_cells import saved
from tests.support.planted_directions import planted_directions
from tests.support.traced import from_inputs

STEPS = 5
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
INTERVENTIONS: dict[str, Intervention] = {
    "DLEAF": DLEAF(),
    "CLVA": CLVA(initial=[0], middle=[1], deep=[2]),
    "LocoRE": LocoRE(beta=0.3),
    "HalluRNN": HalluRNN(cell=saved()),
    "SGRS": SGRS(alpha=0.99, layers=[1], J="after_image"),
    "VCD": VCD(beta=0.0),  # in the stack, SGRS is to have a choice
    "AGLA": AGLA(beta=0.0),
    "ADHH": ADHH(heads=("0.1", "1.2"), threshold=0.05),
    "Steering": Steering(directions=planted_directions()),
    "DeCo": DeCo(layers=[0], top_p=1.0, k=1000),
    "DoLa": DoLa(layers=[0], beta=0.0),
    "ICD": ICD(disturbance=(3, 4, 5), beta=0.0),
    "M3ID": M3ID(decay=0.5),
    "OPERA": OPERA(candidates=30, image_steps=1, factor=1e-3),  # in the stack, others are to have a choice
    "PAI": PAI(layers=[0, 1], beta=0.0),
    "SPIN": SPIN(suppressed=0.5, layers=[0, 1]),
    "HeadRescaling": HeadRescaling(l_perc=1.0, l_reas=0, tau_perc=0.5, tau_reas=0.2, g_perc=1.3, g_reas=1.5),
}
IDENTITIES: dict[str, Intervention] = {
    "DLEAF": DLEAF(gamma=0.0),
    "CLVA": CLVA(alpha=0.0, beta=0.0, initial=[0], middle=[1], deep=[2]),
    "LocoRE": LocoRE(beta=0.0),
    "HalluRNN": HalluRNN(cell=saved(), strength=0.0),
    "SGRS": SGRS(alpha=0.0),
    "VCD": VCD(alpha=0.0),
    "AGLA": AGLA(alpha=0.0),
    "ADHH": ADHH(heads=()),
    "Steering": Steering(directions=planted_directions(), strength=0.0),
    "DeCo": DeCo(alpha=0.0),
    "DoLa": DoLa(strength=0.0, layers=[0]),
    "ICD": ICD(alpha=0.0),
    "M3ID": M3ID(decay=0.0),
    "OPERA": OPERA(alpha=0.0),
    "PAI": PAI(alpha=0.0, gamma=1.0),
    "SPIN": SPIN(alpha=1.0),
    "HeadRescaling": HeadRescaling(g_perc=1.0, g_reas=1.0),
}
each_intervention = pytest.mark.parametrize("intervention", INTERVENTIONS.values(), ids=INTERVENTIONS)


def generate(case: tiny_models.TinyCase, inputs: dict[str, Any] | None = None, **options: Any) -> Any:
    chosen = case.inputs if inputs is None else inputs
    return case.model.generate(**chosen, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True)


def test_every_registered_intervention_has_both_entries() -> None:
    assert set(INTERVENTIONS) == set(IDENTITIES) == set(list_interventions()), "enter it in both dictionaries above"


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_every_registered_intervention_says_where_it_is_from(name: str) -> None:
    kind: Any = type(INTERVENTIONS[name])
    assert kind.reference
    assert kind.card.paper
    assert kind.card.cost


@pytest.mark.parametrize("intervention", IDENTITIES.values(), ids=IDENTITIES)
def test_strength_zero_is_the_untouched_model_to_the_last_bit(intervention: Intervention) -> None:
    case = tiny_models.llava(2)
    plain = generate(case)
    with intervene(case.model, intervention) as handle:
        edited = generate(case)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, edited.logits, strict=True))
    assert not handle.report()[0]["changed"]


@each_intervention
def test_replay_equals_stepwise_generation(intervention: Intervention) -> None:
    case = tiny_models.llava()
    found = from_inputs(case.model, case.inputs, interventions=[intervention], **OPTIONS)
    assert isinstance(found, Trace)
    assert found.provenance["replay"]["difference"] < 1e-4
    assert found.effects[0]["changed"]
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(found.attention.shape[:3]), atol=1e-5, rtol=0)


def test_a_stack_is_replayed_as_it_was_generated() -> None:
    case = tiny_models.llava()
    stack = list(INTERVENTIONS.values())
    found = from_inputs(case.model, case.inputs, interventions=stack, **OPTIONS)
    assert isinstance(found, Trace)
    assert found.provenance["replay"]["difference"] < 1e-4
    assert [effect["name"] for effect in found.effects] == list(INTERVENTIONS)
    assert all(effect["changed"] for effect in found.effects)


@pytest.mark.parametrize("stack", [*([each] for each in INTERVENTIONS.values()), list(INTERVENTIONS.values())])
def test_gradients_of_a_padded_batch_are_finite(stack: list[Intervention]) -> None:
    case = tiny_models.llava(2)
    found = from_inputs(case.model, case.inputs, interventions=stack, gradients=True, **OPTIONS)
    assert isinstance(found, list)
    for one in found:
        assert one.gradient is not None
        assert torch.isfinite(one.gradient).all()
        assert (one.gradient != 0).any()


@each_intervention
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"use_cache": False}])
def test_a_left_padded_batch_is_edited_like_single_samples(intervention: Intervention, options: dict[str, Any]) -> None:
    case = tiny_models.llava(2)
    if isinstance(intervention, SGRS) and "num_beams" in options:
        with pytest.raises(UnsupportedOptionError, match="num_beams=3"), intervene(case.model, intervention):
            generate(case, **options)
        return
    with intervene(case.model, intervention):
        batch = generate(case, **options).sequences[:, -STEPS:]
        alone = [generate(case, case.sample(n), **options).sequences[0, -STEPS:] for n in range(2)]
    assert batch.tolist() == [one.tolist() for one in alone]


@each_intervention
def test_sampling_runs_and_is_repeatable(intervention: Intervention) -> None:
    case = tiny_models.llava()
    found = []
    with intervene(case.model, intervention):
        for _ in range(2):
            torch.manual_seed(3)
            found.append(generate(case, do_sample=True).sequences.tolist())
    assert found[0] == found[1]


@each_intervention
def test_nothing_is_left_behind_also_after_an_exception(intervention: Intervention) -> None:
    case = tiny_models.llava()
    plain = generate(case).sequences  # generate itself leaves attributes behind
    before = tiny_models.footprint(case.model)

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), intervene(case.model, intervention):
        generate(case, stopping_criteria=[stop])
    assert tiny_models.footprint(case.model) == before
    assert torch.equal(generate(case).sequences, plain)


@each_intervention
def test_other_models_and_nested_blocks_are_not_mixed_up(intervention: Intervention) -> None:
    case, other = tiny_models.llava(), tiny_models.llava(seed=1)
    plain = generate(other).logits
    with intervene(case.model, intervention) as outer:
        assert all(torch.equal(a, b) for a, b in zip(plain, generate(other).logits, strict=True))
        with intervene(case.model, DLEAF(gamma=0.3)) as inner:
            generate(case)
        assert len(inner.report()) == len(outer.report()) == 1
        once = generate(case).logits
    with intervene(case.model, intervention):
        assert all(torch.equal(a, b) for a, b in zip(once, generate(case).logits, strict=True))


def test_a_second_intervention_that_chooses_tokens_is_refused_and_leaves_the_first() -> None:
    case = tiny_models.llava()
    with intervene(case.model, SGRS()) as handle:
        with pytest.raises(InterventionError, match="SGRS and SGRS, which each choose every token"):
            attach(case.model, SGRS(k=3))
        assert repr(handle) == "Handle(SGRS)"
        generate(case)
        assert handle.report()[0]["tokens"] == STEPS
    with pytest.raises(InterventionError, match="SGRS and SGRS"), intervene(case.model, LocoRE(), SGRS(), SGRS(k=3)):
        pass
    assert repr(handle) == "Handle(SGRS, removed)"


@each_intervention
def test_a_description_is_json_and_makes_the_intervention_again(intervention: Intervention) -> None:
    described = json.loads(json.dumps(intervention.describe()))
    assert set(described) == {"name", "reference", "parameters"}
    again = type(intervention)(**described["parameters"])
    assert json.loads(json.dumps(again.describe())) == described


@each_intervention
def test_a_saved_configuration_makes_the_same_edit(intervention: Intervention, tmp_path: Path) -> None:
    save_interventions(tmp_path / "intervention.json", intervention)
    (again,) = load_interventions(tmp_path / "intervention.json")
    case, found = tiny_models.llava(), []
    for each in (intervention, again):
        with intervene(case.model, each):
            found.append(generate(case).logits)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
