"""Interventions by name, other packages' entry points, and configurations as JSON."""

import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from lvlmscope import interventions
from lvlmscope.errors import InterventionError, ModelInputError, OutputError
from lvlmscope.interventions import (
    DLEAF,
    HalluRNN,
    LocoRE,
    list_interventions,
    load_interventions,
    registry,
    save_interventions,
)
from lvlmscope.runtime.parameters import check_types
from lvlmscope.runtime.protocol import ModelInfo, Session
from tests.support.depth_cells import saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Outsider:
    """An intervention of another package."""

    strength: float = 1.0

    def start(self, site: ModelInfo) -> Session:
        del site
        return Session()

    def describe(self) -> dict[str, Any]:
        return {"name": "Outsider", "reference": "", "parameters": {"strength": self.strength}}


def offer(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    found = tuple(EntryPoint(name, value, registry.GROUP) for name, value in points)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: found if group == registry.GROUP else ())


def test_every_exported_intervention_is_registered_with_a_card() -> None:
    found = list_interventions()
    assert {"DLEAF", "CLVA", "LocoRE", "HeadRescaling", "HalluRNN"} <= set(found)
    for name, intervention in found.items():
        assert name in interventions.__all__
        card: Any = getattr(intervention, "card", None)
        assert card.paper.startswith("arXiv "), name
        assert all((card.from_paper, card.our_choices, card.cost)), name
        assert set(card.search_space) <= set(signature(intervention).parameters), name


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("CLVA", {"alpha": "x"}, "alpha='x' of type str; expected: a number"),
        ("DLEAF", {"gamma": True}, "gamma=True of type bool"),
        ("DLEAF", {"layers": 3}, "layers=3 of type int; expected: a sequence of numbers or None"),
        ("DLEAF", {"threshold": ["min"]}, r".*; expected: 'min', 'max', 'mean'"),
        ("SGRS", {"k": 2.5}, "k=2.5 of type float; expected: a whole number"),
        ("LocoRE", {"window": None}, "window=None of type NoneType"),
        ("HeadRescaling", {"l_perc": "a"}, "l_perc='a' of type str"),
        ("HalluRNN", {"strength": [1]}, r"strength=\[1\] of type list"),
    ],
)
def test_parameters_of_another_type_are_named(name: str, parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(InterventionError, match=f"configure {name}: got {told}"):
        registry.intervention_class(name)(**parameters)


def test_every_default_is_of_its_own_type() -> None:
    for intervention in list_interventions().values():
        check_types(intervention())


def test_another_packages_intervention_is_found_in_any_letter_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, ("Outsider", f"{__name__}:Outsider"))
    assert registry.intervention_class("OUTSIDER").__name__ == "Outsider"
    assert list(list_interventions())[-1] == "Outsider"
    save_interventions(tmp_path / "stack.json", registry.intervention_class("outsider")(strength=0.25))  # type: ignore[call-arg]
    (again,) = load_interventions(tmp_path / "stack.json")
    assert again.describe()["parameters"] == {"strength": 0.25}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_module_here:Thing", "no_such_module_here:Thing: No module named"),
        (f"{__name__}:Missing", "Missing"),
        (f"{__name__}:STEPS_ARE_NO_INTERVENTION", "of type int; expected: a class with start and describe"),
    ],
)
def test_a_broken_entry_point_names_its_package(monkeypatch: pytest.MonkeyPatch, value: str, told: str) -> None:
    offer(monkeypatch, ("Broken", value))
    with pytest.raises(InterventionError, match=told):
        registry.intervention_class("broken")
    assert registry.intervention_class("dleaf") is DLEAF


STEPS_ARE_NO_INTERVENTION = 3


def test_two_interventions_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("dleaf", f"{__name__}:Outsider"))
    with pytest.raises(InterventionError, match="from more than one package; expected: one intervention of each name"):
        registry.intervention_names()


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(InterventionError, match=r"'VCD'; expected: CLVA, DLEAF, .*LocoRE"):
        registry.intervention_class("VCD")


def test_a_stack_is_saved_and_loaded_in_its_order(tmp_path: Path) -> None:
    stack = (LocoRE(beta=0.3, layers=(0.1, 0.5)), DLEAF(heads=2), HalluRNN(cell=saved(), strength=0.5))
    save_interventions(tmp_path / "stack.json", stack)
    again = load_interventions(tmp_path / "stack.json")
    assert [type(intervention) for intervention in again] == [LocoRE, DLEAF, HalluRNN]
    described = [json.loads(json.dumps(intervention.describe())) for intervention in stack]
    assert [json.loads(json.dumps(intervention.describe())) for intervention in again] == described


def test_what_json_cannot_hold_is_not_saved(tmp_path: Path) -> None:
    from lvlmscope.interventions.depth_cell import DepthCell

    cell = DepthCell.load(saved())
    with pytest.raises(InterventionError, match="cell=DepthCell object; expected: numbers, texts, lists"):
        save_interventions(tmp_path / "stack.json", HalluRNN(cell=cell))
    with pytest.raises(InterventionError, match="'Outsider'; expected: CLVA"):
        save_interventions(tmp_path / "stack.json", Outsider())
    assert not (tmp_path / "stack.json").exists()
    with pytest.raises(OutputError, match="No such file or directory"):
        save_interventions(tmp_path / "missing" / "stack.json", DLEAF())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no such configuration \\(JSONDecodeError"),
        ("[]", "no such configuration \\(TypeError"),
        ('{"lvlmscope_interventions": 1}', "no such configuration \\(KeyError: 'interventions'"),
        ('{"lvlmscope_interventions": 9, "interventions": []}', "format 9; expected: format 1"),
        ('{"lvlmscope_interventions": 1, "interventions": [{"name": "VCD", "parameters": {}}]}', "'VCD'"),
        (
            '{"lvlmscope_interventions": 1, "interventions": [{"name": "DLEAF", "parameters": {"gama": 1}}]}',
            "unexpected keyword argument 'gama'; expected: gamma, layers",
        ),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(text)
    with pytest.raises(InterventionError, match=told):
        load_interventions(path)


def test_a_file_with_a_bad_value_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    with pytest.raises(InterventionError, match="No such file or directory; expected: a file of save_interventions"):
        load_interventions(path)
    path.write_text(
        '{"lvlmscope_interventions": 1, "interventions": [{"name": "DLEAF", "parameters": {"gamma": 2.0}}]}'
    )
    with pytest.raises(ModelInputError, match="gamma=2"):
        load_interventions(path)
