"""Interventions by name: the decorator, other packages' entry points, close names, and configurations as JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import pytest

from lvlmscope import interventions
from lvlmscope.cli.commands.interventions import run_interventions
from lvlmscope.cli.intervention_syntax import parse_intervention
from lvlmscope.errors import InterventionError, ModelInputError, OutputError
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions import (
    DLEAF,
    HalluRNN,
    LocoRE,
    intervention,
    list_interventions,
    load_interventions,
    registry,
    save_interventions,
)
from lvlmscope.interventions.registry import INTERVENTIONS
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import ModelInfo, Session
from tests.support import tiny_models
from tests.support.depth_cells import saved
from tests.support.fake_distributions import installed

PACKAGE = """
from dataclasses import dataclass
from typing import Annotated

import lvlmscope as lv
from lvlmscope.interface.declared_types import Range


@lv.intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class Outsider(lv.InterventionConfig):
    strength: Annotated[float, Range(ge=0)] = 1.0

    def start(self, model_info):
        return lv.Session()


class Undecorated:
    def __init__(self, *, strength=1.0):
        self.strength = strength

    def start(self, model_info):
        return lv.Session()

    def describe(self):
        return {"name": "Undecorated", "reference": "", "parameters": {"strength": self.strength}}


STEPS = 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger(InterventionConfig):
    """An intervention that nobody registered."""

    strength: float = 1.0

    def start(self, model_info: ModelInfo) -> Session:
        del model_info
        return Session()


@contextmanager
def offered(folder: Path, *, source: str = PACKAGE, **points: str) -> Iterator[None]:
    """A package whose entry points offer interventions."""
    with INTERVENTIONS.temporary(), installed(folder, "offering_package", source, {INTERVENTIONS.group: points}):
        yield


def test_every_exported_intervention_is_registered_with_a_card() -> None:
    found = list_interventions()
    assert {"DLEAF", "CLVA", "LocoRE", "HeadRescaling", "HalluRNN"} <= set(found)
    for name, kind in found.items():
        assert name in interventions.__all__
        card: Any = getattr(kind, "card", None)
        assert card.paper.startswith(("arXiv ", "Yang et al., ICLR 2025")), name
        assert all((card.from_paper, card.our_choices, card.cost)), name
        assert set(card.search_space) <= set(signature(kind).parameters), name


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("name", "parameters", "text"),
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
def test_parameters_of_another_type_are_named(name: str, parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(InterventionError, match=f"configure {name}: got {text}"):
        registry.intervention_class(name)(**parameters)


def test_a_class_with_the_decorator_is_known_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with INTERVENTIONS.temporary():

        @intervention
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Halving(InterventionConfig):
            """Half the weight of the first key."""

            strength: Annotated[float, Range(ge=0, le=1)] = 0.5

            def start(self, model_info: ModelInfo) -> Session:
                del model_info
                return Session()

        assert list(list_interventions())[-1] == "Halving"
        assert registry.intervention_class("halving") is Halving
        assert parse_intervention("halving:strength=0.25") == Halving(strength=0.25)
        save_interventions(tmp_path / "stack.json", Halving(strength=0.75))
        assert load_interventions(tmp_path / "stack.json") == (Halving(strength=0.75),)
        run_interventions("halving", as_json=True)
        assert json.loads(capsys.readouterr().out)[0]["parameters"] == {"strength": 0.5}
        case = tiny_models.llava()
        with intervene(case.model, Halving()) as handle:
            case.model.generate(**case.inputs, max_new_tokens=1)
            assert handle.report()[0]["name"] == "Halving"
        with pytest.raises(ModelInputError, match="configure Halving: got strength=2; expected: a number from 0 to 1"):
            parse_intervention("halving:strength=2")
        with pytest.raises(InterventionError, match="did you mean 'halving'"):
            parse_intervention("halfing")
    assert "Halving" not in list_interventions()


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_decorator_refuses_what_is_no_intervention() -> None:
    with INTERVENTIONS.temporary():
        with pytest.raises(InterventionError, match="of type type; expected: a class with start and describe"):
            intervention(int)  # type: ignore[type-var]
        with pytest.raises(InterventionError, match=r"Bare, which is no dataclass; .*intervention above @dataclass"):

            @dataclass(frozen=True, slots=True, kw_only=True)
            @intervention
            class Bare(InterventionConfig):
                def start(self, model_info: ModelInfo) -> Session:
                    del model_info
                    return Session()

        with pytest.raises(InterventionError, match="register the intervention 'dleaf': got a name that is taken"):
            intervention(type("dleaf", (Stranger,), {}))


def test_a_class_defined_again_at_its_place_replaces_the_first() -> None:
    """A notebook cell that is run twice."""

    def cell() -> type[InterventionConfig]:
        @intervention
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Again(InterventionConfig):
            def start(self, model_info: ModelInfo) -> Session:
                del model_info
                return Session()

        return Again

    with INTERVENTIONS.temporary():
        first, second = cell(), cell()
        assert first is not second
        found: Any = list_interventions()["Again"]
        assert found is second
        with pytest.raises(InterventionError, match="a name that is taken"):
            intervention(type("Again", (Stranger,), {}))


@pytest.mark.parametrize("name", ["Outsider", "Undecorated"])
def test_another_packages_intervention_is_found_in_any_letter_case(name: str, tmp_path: Path) -> None:
    with offered(tmp_path, **{name: f"offering_package:{name}"}):
        assert list(list_interventions())[-1] == name
        made: Any = parse_intervention(f"{name.lower()}:strength=0.25")
        assert made.strength == 0.25
        save_interventions(tmp_path / "stack.json", made)
        (again,) = load_interventions(tmp_path / "stack.json")
        assert type(again) is registry.intervention_class(name.upper())
        assert again.describe()["parameters"] == {"strength": 0.25}
        with pytest.raises(InterventionError, match=f"did you mean '{name.lower()}'"):
            parse_intervention(name.lower() + "s")
    assert name not in list_interventions()


def test_names_of_other_packages_are_known_before_they_are_imported(tmp_path: Path) -> None:
    with offered(tmp_path, source="raise ImportError('needs more')", Outsider="offering_package:Outsider"):
        assert registry.intervention_names()[-1] == "Outsider"
        assert registry.intervention_class("dleaf") is DLEAF
        with pytest.raises(InterventionError, match=r"'Outsider': got .*needs more; .*uninstall offering_package"):
            registry.intervention_class("outsider")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("no_such_module_here:Thing", "no_such_module_here:Thing: No module named"),
        ("offering_package:Missing", "Missing"),
        ("offering_package:STEPS", "got 3, of type int; expected: a class with start and describe"),
        ("offering_package:Outsider", "which is registered as 'Outsider'; expected: equal names"),
    ],
)
def test_a_broken_entry_point_is_named_and_listed_as_not_usable(
    tmp_path: Path, value: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with offered(tmp_path, Broken=value):
        with pytest.raises(InterventionError, match=text):
            registry.intervention_class("broken")
        assert registry.intervention_class("dleaf") is DLEAF
        run_interventions(as_json=True)
        errors = {each["name"]: each.get("error", "") for each in json.loads(capsys.readouterr().out)}
        assert [name for name, error in errors.items() if error] == ["Broken"]


def test_two_interventions_of_one_name_are_refused(tmp_path: Path) -> None:
    text = "'dleaf' from more than one package; expected: one intervention of each name"
    with offered(tmp_path, dleaf="offering_package:Outsider"), pytest.raises(InterventionError, match=text):
        registry.intervention_names()
    points = {"Outsider": "offering_package:Outsider", "OUTSIDER": "offering_package:Undecorated"}
    (tmp_path / "second").mkdir()
    with offered(tmp_path / "second", **points), pytest.raises(InterventionError, match="from more than one package"):
        registry.intervention_names()


def test_an_entry_point_of_a_class_that_was_imported_before_counts_once(tmp_path: Path) -> None:
    with offered(tmp_path, Outsider="offering_package:Outsider"):
        import offering_package  # type: ignore[import-not-found]

        assert registry.intervention_names().count("Outsider") == 1
        assert registry.intervention_class("outsider") is offering_package.Outsider


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(InterventionError, match=r"'HALC'; expected: ADHH, AGLA, CLVA, .*LocoRE"):
        registry.intervention_class("HALC")


def test_a_name_that_is_nearly_right_gets_a_suggestion(tmp_path: Path) -> None:
    for ask in (registry.intervention_class, parse_intervention):
        with pytest.raises(InterventionError, match="did you mean 'dleaf'"):
            ask("dleef")
    content = {"lvlmscope_interventions": 1, "interventions": [{"name": "DLEEF", "parameters": {}}]}
    (tmp_path / "stack.json").write_text(json.dumps(content))
    with pytest.raises(InterventionError, match=r"'DLEEF'; .*did you mean 'DLEAF'"):
        load_interventions(tmp_path / "stack.json")
    with pytest.raises(InterventionError, match=r"configure DLEAF: got the parameter 'gama'; .*did you mean 'gamma'\."):
        parse_intervention("dleaf:gama=0.5")


def test_a_required_parameter_is_asked_for() -> None:
    with INTERVENTIONS.temporary():

        @intervention
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Needy(Stranger):
            threshold: float

        with pytest.raises(InterventionError, match="configure Needy: got no value of threshold"):
            parse_intervention("needy")


def test_a_stack_is_saved_and_loaded_in_its_order(tmp_path: Path) -> None:
    stack = (LocoRE(beta=0.3, layers=(0.1, 0.5)), DLEAF(heads=2), HalluRNN(cell=saved(), strength=0.5))
    save_interventions(tmp_path / "stack.json", stack)
    again = load_interventions(tmp_path / "stack.json")
    assert again == stack


def test_what_json_cannot_hold_is_not_saved(tmp_path: Path) -> None:
    from lvlmscope.interventions.depth_cell import DepthCell

    cell = DepthCell.load(saved())
    with pytest.raises(InterventionError, match="cell=DepthCell object; expected: numbers, texts, lists"):
        save_interventions(tmp_path / "stack.json", HalluRNN(cell=cell))
    with pytest.raises(InterventionError, match="'Stranger'; expected: ADHH"):
        save_interventions(tmp_path / "stack.json", Stranger())
    with pytest.raises(InterventionError, match=r"save type: .*pass an instance such as lv.DLEAF\(\)"):
        save_interventions(tmp_path / "stack.json", [DLEAF])  # type: ignore[list-item]
    assert not (tmp_path / "stack.json").exists()
    with pytest.raises(OutputError, match="No such file or directory"):
        save_interventions(tmp_path / "missing" / "stack.json", DLEAF())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "no such configuration \\(JSONDecodeError"),
        ("[]", "no such configuration \\(TypeError"),
        ('{"lvlmscope_interventions": 1}', "no such configuration \\(KeyError: 'interventions'"),
        ('{"lvlmscope_interventions": 9, "interventions": []}', "format 9; expected: format 1"),
        ('{"lvlmscope_interventions": 1, "interventions": [{"name": "HALC", "parameters": {}}]}', "'HALC'"),
        (
            '{"lvlmscope_interventions": 1, "interventions": [{"name": "DLEAF", "parameters": {"gama": 1}}]}',
            "the parameter 'gama'; expected: gamma, layers, .*did you mean 'gamma'",
        ),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(content)
    with pytest.raises(InterventionError, match=text):
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
