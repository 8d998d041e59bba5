"""Every step of set-up, use and removal fails once: afterwards model, configs, hooks and random state are as before."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lvlmscope as lv
from tests.runtime.test_attachment import ALL
from tests.support import tiny_models
from tests.support.injected_faults import Point, failing, points
from tests.support.model_state import changed, model_state

# As users run it: the shape checker calls properties of its own, and tells their errors in its own words
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* changed nothing in"),
    pytest.mark.usefixtures("unchecked_shapes"),
]

OPTIONS: dict[str, Any] = {"max_new_tokens": 2, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
# Without these nothing is undone: they fail once their work is done, and not before it
UNDOING = ("remove", "remove_route", "_put_back", "_take_off", "_take_down", "withdraw", "_end_replay", "close", "set")
# Without its handle nobody could remove a hook or an intervention; what a removal is told by is part of it
WHOLE = ("register_forward_hook", "register_forward_pre_hook", "switch_on", "attach", "_left")


@cache
def case() -> tiny_models.TinyCase:
    made = tiny_models.llava()
    generate(made)  # which leaves attributes of its own
    return made


def generate(of: tiny_models.TinyCase) -> torch.Tensor:
    logits = of.model.generate(**of.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True).logits
    return torch.stack(logits)


def block() -> None:
    with lv.intervene(case().model, *ALL):
        generate(case())


def attached() -> None:
    handle = lv.attach(case().model, *ALL)
    try:
        generate(case())
    finally:
        handle.remove()


def nested() -> None:
    with lv.intervene(case().model, ALL[2]), lv.intervene(case().model, lv.SGRS()):
        generate(case())


def traced() -> None:
    lv.trace_inputs(case().model, case().inputs, hidden_states=True, **OPTIONS)


def with_gradients() -> None:
    drawn = OPTIONS | {"do_sample": True}  # so that the seed has something to do
    lv.trace_inputs(case().model, case().inputs, gradients=True, interventions=ALL, seed=3, **drawn)


@cache
def limit() -> int:
    options: dict[str, Any] = {"inputs": case().inputs, "gradients": True, "max_new_tokens": 2, "hidden_states": True}
    least = lv.estimate(case().model, layerwise=True, **options).peak
    assert least < lv.estimate(case().model, **options).peak
    return least


def layer_by_layer() -> None:
    options = OPTIONS | {"max_memory": limit(), "hidden_states": True}
    (made,) = lv.trace_inputs(case().model, case().inputs, gradients=True, **options)
    assert made.provenance["replay"]["layerwise"]


USES: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (block, attached, nested, traced, with_gradients, layer_by_layer)
}


@cache
def steps(name: str) -> tuple[Point, ...]:
    """Where a use may fail: in what sets up, runs and removes."""
    USES[name]()  # what is cached is not called again
    found = points(USES[name], UNDOING)
    rooms = ("/hooks/", "/runtime/", "/capture/", "/torch/")
    return tuple(
        each
        for each in found
        if any(room in each.module for room in rooms)
        and not (each.leaving and each.function.rpartition(".")[2] in WHOLE)
        and not each.function.endswith("_left")
    )


@cache
def plain() -> torch.Tensor:
    return generate(case())


def fail(name: str, point: Point) -> None:
    """One use that fails at one point, and what must hold after it."""
    expected, state = plain(), model_state(case().model)
    with pytest.raises((RuntimeError, ValueError), match=r"on purpose|on which it fails"), failing(point) as failed:
        USES[name]()
    assert failed, point
    assert changed(state, model_state(case().model)) == [], point
    assert torch.equal(generate(case()), expected), point


@pytest.mark.parametrize("name", USES)
def test_many_steps_are_reached(name: str) -> None:
    reached = {each.function.rpartition(".")[2] for each in steps(name)}
    assert len(steps(name)) > 200
    assert {"install", "remove", "add_route", "remove_route"} <= reached


@pytest.mark.parametrize("name", USES)
@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=True,
    database=None,
)
@given(data=st.data())
def test_whichever_step_fails_all_is_as_before(name: str, data: st.DataObject) -> None:
    fail(name, data.draw(st.sampled_from(steps(name))))


@pytest.mark.parametrize("number", [1, 2])
def test_a_function_that_cannot_be_put_back_does_not_keep_the_others(number: int) -> None:
    (point,) = (each for each in steps("traced") if each.function == "_put_back" and each.number == number)
    fail("traced", point)


@pytest.mark.slow
@pytest.mark.parametrize("name", USES)
def test_each_step_that_fails_leaves_all_as_before(name: str) -> None:
    for point in steps(name):
        fail(name, point)
