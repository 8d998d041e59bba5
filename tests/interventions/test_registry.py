"""Remedies by name, other packages' entry points, and configurations as JSON."""

import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from lvlmscope import interventions
from lvlmscope.errors import InterventionError, ModelInputError, OutputError, RemedyError
from lvlmscope.interventions import DLEAF, HalluRNN, LocoRE, load_remedies, registered, registry, save_remedies
from lvlmscope.runtime.parameters import check_types
from lvlmscope.runtime.protocol import Session, Site
from tests.support.depth_cells import saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Outsider:
    """A remedy of another package."""

    strength: float = 1.0

    def start(self, site: Site) -> Session:
        del site
        return Session()

    def describe(self) -> dict[str, Any]:
        return {"name": "Outsider", "reference": "", "parameters": {"strength": self.strength}}


def offer(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    found = tuple(EntryPoint(name, value, registry.GROUP) for name, value in points)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: found if group == registry.GROUP else ())


def test_every_exported_remedy_is_registered_with_a_card() -> None:
    found = registered()
    assert {"DLEAF", "CLVA", "LocoRE", "HeadRescaling", "HalluRNN"} <= set(found)
    for name, remedy in found.items():
        assert name in interventions.__all__
        card: Any = getattr(remedy, "card", None)
        assert card.paper.startswith("arXiv "), name
        assert all((card.theirs, card.ours, card.cost)), name
        assert set(card.space) <= set(signature(remedy).parameters), name


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("CLVA", {"alpha": "x"}, "alpha='x' of type str; possible: a number"),
        ("DLEAF", {"gamma": True}, "gamma=True of type bool"),
        ("DLEAF", {"layers": 3}, "layers=3 of type int; possible: a sequence of numbers or None"),
        ("DLEAF", {"threshold": ["min"]}, r".*; possible: 'min', 'max', 'mean'"),
        ("SGRS", {"k": 2.5}, "k=2.5 of type float; possible: a whole number"),
        ("LocoRE", {"window": None}, "window=None of type NoneType"),
        ("HeadRescaling", {"l_perc": "a"}, "l_perc='a' of type str"),
        ("HalluRNN", {"strength": [1]}, r"strength=\[1\] of type list"),
    ],
)
def test_parameters_of_another_type_are_named(name: str, parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(InterventionError, match=f"configure {name}: got {told}"):
        registry.remedy_class(name)(**parameters)


def test_every_default_is_of_its_own_type() -> None:
    for remedy in registered().values():
        check_types(remedy())


def test_another_packages_remedy_is_found_in_any_letter_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, ("Outsider", f"{__name__}:Outsider"))
    assert registry.remedy_class("OUTSIDER").__name__ == "Outsider"
    assert list(registered())[-1] == "Outsider"
    save_remedies(tmp_path / "stack.json", registry.remedy_class("outsider")(strength=0.25))  # type: ignore[call-arg]
    (again,) = load_remedies(tmp_path / "stack.json")
    assert again.describe()["parameters"] == {"strength": 0.25}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_module_here:Thing", "no_such_module_here:Thing: No module named"),
        (f"{__name__}:Missing", "Missing"),
        (f"{__name__}:STEPS_ARE_NO_REMEDY", "of type int; possible: a class with start and describe"),
    ],
)
def test_a_broken_entry_point_names_its_package(monkeypatch: pytest.MonkeyPatch, value: str, told: str) -> None:
    offer(monkeypatch, ("Broken", value))
    with pytest.raises(RemedyError, match=told):
        registry.remedy_class("broken")
    assert registry.remedy_class("dleaf") is DLEAF


STEPS_ARE_NO_REMEDY = 3


def test_two_remedies_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("dleaf", f"{__name__}:Outsider"))
    with pytest.raises(RemedyError, match="from more than one package; possible: one remedy of each name"):
        registry.remedy_names()


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(RemedyError, match=r"'VCD'; possible: CLVA, DLEAF, .*LocoRE"):
        registry.remedy_class("VCD")


def test_a_stack_is_saved_and_loaded_in_its_order(tmp_path: Path) -> None:
    stack = (LocoRE(beta=0.3, layers=(0.1, 0.5)), DLEAF(heads=2), HalluRNN(cell=saved(), strength=0.5))
    save_remedies(tmp_path / "stack.json", stack)
    again = load_remedies(tmp_path / "stack.json")
    assert [type(remedy) for remedy in again] == [LocoRE, DLEAF, HalluRNN]
    described = [json.loads(json.dumps(remedy.describe())) for remedy in stack]
    assert [json.loads(json.dumps(remedy.describe())) for remedy in again] == described


def test_what_json_cannot_hold_is_not_saved(tmp_path: Path) -> None:
    from lvlmscope.interventions.depth_cell import DepthCell

    cell = DepthCell.load(saved())
    with pytest.raises(RemedyError, match="cell=DepthCell object; possible: numbers, texts, lists"):
        save_remedies(tmp_path / "stack.json", HalluRNN(cell=cell))
    with pytest.raises(RemedyError, match="'Outsider'; possible: CLVA"):
        save_remedies(tmp_path / "stack.json", Outsider())
    assert not (tmp_path / "stack.json").exists()
    with pytest.raises(OutputError, match="No such file or directory"):
        save_remedies(tmp_path / "missing" / "stack.json", DLEAF())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no such configuration \\(JSONDecodeError"),
        ("[]", "no such configuration \\(TypeError"),
        ('{"lvlmscope_remedies": 1}', "no such configuration \\(KeyError: 'remedies'"),
        ('{"lvlmscope_remedies": 9, "remedies": []}', "format 9; possible: format 1"),
        ('{"lvlmscope_remedies": 1, "remedies": [{"name": "VCD", "parameters": {}}]}', "'VCD'"),
        (
            '{"lvlmscope_remedies": 1, "remedies": [{"name": "DLEAF", "parameters": {"gama": 1}}]}',
            "unexpected keyword argument 'gama'; possible: gamma, layers",
        ),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(text)
    with pytest.raises(RemedyError, match=told):
        load_remedies(path)


def test_a_file_with_a_bad_value_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    with pytest.raises(RemedyError, match="No such file or directory; possible: a file of save_remedies"):
        load_remedies(path)
    path.write_text('{"lvlmscope_remedies": 1, "remedies": [{"name": "DLEAF", "parameters": {"gamma": 2.0}}]}')
    with pytest.raises(ModelInputError, match="gamma=2"):
        load_remedies(path)
