"""Every declared parameter of every public function refuses what its annotation does not allow, by name."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import lvlmscope as lv
from lvlmscope.attention.functional_head_rule import HeadRule
from lvlmscope.errors import ModelInputError
from lvlmscope.interface.declared_types import Range, allows, choices
from lvlmscope.interface.parameter_checks import checkable_hints, checked, is_checked

ROOMS = ("", "plot", "evaluation", "attribution", "risk", "tiny", "training")
WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=6),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.just({}),
    st.just(object()),
    st.just(np.array([1, 2])),
    st.just(torch.tensor(True)),
)


def every_public_function() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    for room in ROOMS:
        home = getattr(lv, room) if room else lv
        for name in home.__all__:
            if inspect.isfunction(value := getattr(home, name)):
                yield room, name, value


FUNCTIONS = {f"{room}.{name}".lstrip("."): value for room, name, value in every_public_function() if is_checked(value)}
PARAMETERS = [(name, each) for name, function in FUNCTIONS.items() for each in checkable_hints(function)]


def filled(function: Callable[..., Any]) -> dict[str, Any]:
    """Something for every parameter without a default; nothing of it is looked at before the checks are done."""
    hints, found = checkable_hints(function), {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is parameter.empty and parameter.kind not in (2, 4):
            candidates = (1, 0.5, "a", None, True, ("a",), (1,), *choices(hints.get(name)))
            found[name] = next(v for v in candidates if allows(hints[name], v)) if name in hints else object()
    return found


def test_the_checks_reach_the_functions_that_people_call() -> None:
    assert {"trace", "trace_many", "estimate", "aggregate", "calibrate", "plot.heatmap", "saliency"} <= set(FUNCTIONS)
    assert {"evaluation.chair", "evaluation.pope", "evaluation.mme", "evaluation.amber_answers"} <= set(FUNCTIONS)
    assert len(PARAMETERS) > 150


def test_every_public_function_with_such_parameters_is_checked() -> None:
    unchecked = {
        f"{room}.{name}".lstrip(".")
        for room, name, value in every_public_function()
        if not is_checked(value) and checkable_hints(value)
    }
    # What these are given is checked where it is used: a registration by the registry, dimensions by the array
    assert unchecked == {"signal", "labelled_array"}


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize(("function", "parameter"), PARAMETERS, ids=lambda each: each)
@given(value=WRONG)
def test_a_value_that_is_not_allowed_is_refused_by_name(function: str, parameter: str, value: Any) -> None:
    called = FUNCTIONS[function]
    hint = checkable_hints(called)[parameter]
    if allows(hint, tuple(value) if isinstance(value, list) else value):
        return
    with pytest.raises(ModelInputError, match=f"call {called.__name__}: got {parameter}="):
        called(**(filled(called) | {parameter: value}))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_misspelt_argument_gets_the_close_name(function: str) -> None:
    called = FUNCTIONS[function]
    parameters = inspect.signature(called).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    name = max(parameters, key=len)
    with pytest.raises(TypeError, match=f"did you mean '{name}'"):
        called(**(filled(called) | {name + "s": 1}))


@checked
def sample(
    count: Annotated[int, Range(ge=1)],
    share: Annotated[float, Range(gt=0, le=1)] = 0.5,
    kind: Literal["first", "mean"] = "first",
    layers: tuple[int, ...] | None = None,
    quiet: bool = False,
) -> tuple[Any, ...]:
    return count, share, kind, layers, quiet


@pytest.mark.parametrize("number", [np.int64(3), torch.tensor(3), xr.DataArray(3), np.array(3)])
def test_whole_numbers_of_other_libraries_become_int(number: Any) -> None:
    found = sample(number)[0]
    assert (found, type(found)) == (3, int)


@pytest.mark.usefixtures("unchecked_shapes")
def test_fields_of_a_frozen_dataclass_become_plain_numbers() -> None:
    rule = HeadRule(l_perc=torch.tensor(3), tau_perc=np.float32(0.5), l_reas=xr.DataArray(1), tau_reas=0.1)
    assert rule == HeadRule(l_perc=3, tau_perc=0.5, l_reas=1, tau_reas=0.1)
    assert {type(rule.l_perc), type(rule.l_reas)} == {int}


@pytest.mark.parametrize("number", [np.float32(0.25), torch.tensor(0.25), xr.DataArray(0.25)])
def test_numbers_of_other_libraries_become_float(number: Any) -> None:
    assert sample(1, number)[1] == 0.25


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"count": 0}, r"call sample: got count=0; expected: a whole number from 1; change count"),
        ({"count": True}, "count=True of type bool"),
        ({"count": 2.5}, "count=2.5 of type float"),
        ({"count": 1, "share": math.nan}, "share=nan; expected: a number above 0, up to 1"),
        ({"count": 1, "kind": "Mean"}, "kind='Mean'; expected: 'first', 'mean'; did you mean 'mean'"),
        ({"count": 1, "layers": "12"}, "layers='12' of type str"),
        ({"count": 1, "layers": [1, 2.5]}, r"layers=\[1, 2.5\] of type list"),
        ({"count": 1, "quiet": "no"}, "quiet='no' of type str; expected: True or False"),
    ],
)
def test_messages(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelInputError, match=text):
        sample(**given)


def test_arguments_arrive_as_given() -> None:
    assert sample(2, 1, layers=[0, 1]) == (2, 1, "first", [0, 1], False)
    assert inspect.signature(sample).parameters["share"].default == 0.5
    with pytest.raises(TypeError, match="missing a required argument: 'count'"):
        sample()  # type: ignore[call-arg]
