"""Fields of a configuration are checked as they are declared, and described as JSON."""

import copy
import json
import math
import pickle
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lvlmscope.errors import InterventionError, ModelInputError
from lvlmscope.interface.declared_types import Range, allows
from lvlmscope.interventions import DLEAF, Placebo
from lvlmscope.interventions.registry import list_interventions
from lvlmscope.runtime.intervention_config import InterventionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(InterventionConfig):
    """One field of each kind."""

    share: Annotated[float, Range(ge=0, le=1)] = 0.5
    part: Annotated[float, Range(gt=0, lt=1)] = 0.5
    free: float = 0.0
    count: Annotated[int, Range(ge=1)] = 1
    either: Annotated[int, Range(ge=0, noun="a layer")] | Annotated[float, Range(ge=0, le=1, noun="a depth")] = 0.5
    mode: Literal["low", "high"] = "low"
    optional: Literal["prompt"] | None = None
    layers: Sequence[int] | Sequence[float] | None = None
    band: tuple[float, float] = (0.0, 1.0)
    words: tuple[str, ...] = ()
    exact: bool = False
    source: str | Path = "tiny"

    reference = "this test"


class Unchecked(Example):
    """The same with a check of two fields together."""

    def validate(self) -> None:
        if self.part >= self.share:
            raise ModelInputError("part is below share")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", 0), ("share", 1.0), ("share", np.float32(0.25)), ("free", -1e9), ("count", np.int64(3)),
        ("count", 10**400), ("either", 7), ("either", 1.0), ("mode", "high"), ("optional", "prompt"),
        ("layers", [0, -1]), ("layers", range(3)), ("layers", (0.1, 0.5)), ("band", [0.1, 0.5]), ("words", ["a"]),
        ("exact", True), ("source", Path("cell")),
    ],
)  # fmt: skip
def test_values_as_declared_are_taken_and_described_as_json(name: str, value: Any) -> None:
    made = Example(**{name: value})
    assert set(made.describe()) == {"name", "reference", "parameters"}
    assert (made.describe()["name"], made.describe()["reference"]) == ("Example", "this test")
    parameters = json.loads(json.dumps(made.describe()["parameters"]))
    again = Example(**parameters)
    assert json.loads(json.dumps(again.describe()["parameters"])) == parameters
    hash(made)


@pytest.mark.parametrize("kind", [np.array, np.int64, torch.tensor, xr.DataArray])
def test_numbers_of_other_libraries_are_layers_and_heads(kind: Any) -> None:
    made = Example(layers=[kind(1), 2], either=kind(3), count=kind(4), share=kind(1))
    assert made == Example(layers=(1, 2), either=3, count=4, share=1)
    assert {type(made.layers[0]), type(made.either), type(made.count)} == {int}  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("share", 1.5, "got share=1.5; expected: a number from 0 to 1; choose share there"),
        ("share", math.nan, "got share=nan; expected: a number from 0 to 1"),
        ("part", 0, "got part=0; expected: a number above 0, below 1"),
        ("part", 1, "got part=1; expected"),
        ("free", math.inf, "got free=inf; expected: a number, finite"),
        ("count", 0, "got count=0; expected: a whole number from 1"),
        ("either", -1, "got either=-1; expected: a layer from 0 or a depth from 0 to 1"),
        ("either", 1.5, "got either=1.5; expected"),
        ("mode", "hihg", "got mode='hihg'; expected: 'low', 'high'; did you mean 'high'"),
        ("optional", "answer", "got optional='answer'; expected: 'prompt' or None"),
        ("layers", [0.0, math.nan], r"got layers=\[0.0, nan\]; expected: a sequence of numbers or None"),
    ],
)
def test_a_value_out_of_range_names_its_field(name: str, value: Any, text: str) -> None:
    with pytest.raises(ModelInputError, match=f"configure Example: {text}"):
        Example(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("share", True, "share=True of type bool; expected: a number from 0 to 1; change share"),
        ("share", "x", "share='x' of type str"),
        ("share", 1j, "share=1j of type complex"),
        ("count", True, "count=True of type bool"),
        ("count", 1.0, "count=1.0 of type float"),
        ("either", False, "either=False of type bool"),
        ("mode", None, "mode=None of type NoneType"),
        ("mode", 1, "mode=1 of type int"),
        ("layers", 3, "layers=3 of type int; expected: a sequence of numbers or None"),
        ("layers", "01", "layers='01' of type str"),
        ("layers", [True], r"layers=\[True\] of type list"),
        ("band", (0.1, 0.2, 0.3), "band=.* of type tuple; expected: 2 values: a number"),
        ("words", ["a", 1], "words=.*; expected: a sequence of texts"),
        ("exact", 1, "exact=1 of type int; expected: True or False"),
        ("source", 7, "source=7 of type int; expected: a text or Path"),
    ],
)
def test_a_value_of_another_type_names_its_field(name: str, value: Any, text: str) -> None:
    with pytest.raises(InterventionError, match=f"configure Example: got {text}"):
        Example(**{name: value})


@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=3)))
def test_only_finite_numbers_in_range_are_taken(value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 <= value <= 1:
        assert Example(share=value).share == value
        return
    with pytest.raises(ModelInputError if number else InterventionError, match="share="):
        Example(share=value)


def test_lists_become_tuples_so_that_nothing_can_change() -> None:
    made = Example(layers=[0, 1])
    assert made.layers == (0, 1)
    assert made == Example(layers=(0, 1))
    with pytest.raises(FrozenInstanceError):
        made.layers = (2,)  # type: ignore[misc]
    assert not hasattr(made, "__dict__")


def test_fields_are_checked_together_after_each_alone() -> None:
    with pytest.raises(ModelInputError, match="part is below share"):
        Unchecked(part=0.9)
    with pytest.raises(ModelInputError, match="part=2"):
        Unchecked(part=2)


def test_a_declaration_that_cannot_be_checked_is_refused() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Odd(InterventionConfig):
        table: dict[str, float]

    with pytest.raises(ModelInputError, match=r"field of type dict\[str, float\]; expected: numbers, str, bool"):
        Odd(table={})


@pytest.mark.parametrize("kind", list_interventions().values(), ids=list_interventions())
def test_every_default_is_as_declared(kind: Any) -> None:
    required: dict[str, Any] = {"ADHH": {"heads": ("0.1",)}, "Steering": {"directions": "a file"}}
    made, hints = kind(**required.get(kind.__name__, {})), get_type_hints(kind, include_extras=True)
    assert all(allows(hints[each.name], getattr(made, each.name)) for each in fields(made))


def test_a_value_without_a_name_is_told_where_it_belongs() -> None:
    for kind in (*list_interventions().values(), Placebo):
        given: Any = DLEAF() if kind is Placebo else object()
        first = fields(kind)[0].name
        with pytest.raises(InterventionError, match=rf"{kind.__name__}: got .* without a name; .*{first}="):
            kind(given)
    with pytest.raises(InterventionError, match=r"write Placebo\(intervention=\.\.\.\)"):
        Placebo(DLEAF())  # type: ignore[misc]
    for value, named in (([0, 1], "layers"), ("max", "mode"), (0.5, "share"), (True, "exact")):
        with pytest.raises(InterventionError, match=rf"configure Example: .*; write Example\({named}="):
            Example(value)  # type: ignore[misc]
    assert copy.deepcopy(Example(count=2)) == pickle.loads(pickle.dumps(Example(count=2))) == Example(count=2)


def test_fields_that_may_stand_without_a_name_do() -> None:
    @dataclass(frozen=True)
    class Positional(InterventionConfig):
        share: float = 0.5

        def start(self, model_info: Any) -> Any:
            raise NotImplementedError

    assert Positional(0.25).share == 0.25
