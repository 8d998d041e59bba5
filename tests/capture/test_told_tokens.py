"""Who listens hears of each token that an answer is written with, and of nothing else that a trace runs."""

from typing import Any

import pytest

import lvlmscope as lv
from lvlmscope.interface.progress import listening
from lvlmscope.tiny import scene

PROMPT = "Describe the image."


@pytest.fixture(scope="module")
def model() -> Any:
    return lv.load("tiny", check=False)


def heard(model: Any, **options: Any) -> tuple[list[tuple[int, int | None]], lv.Trace]:
    told: list[tuple[int, int | None]] = []
    with listening(lambda done, most: told.append((done, most))):
        trace = lv.trace(model, scene("prior", 3).image, PROMPT, **options)
    return told, trace


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default `max_length`")
@pytest.mark.parametrize(("options", "most"), [({"max_new_tokens": 5}, 5), ({"max_length": 84}, 6), ({}, 20)])
def test_the_most_is_known_whatever_limits_the_answer(model: Any, options: dict[str, Any], most: int) -> None:
    told, trace = heard(model, **options)
    assert trace.prompt_length == 78
    assert 0 < trace.num_steps <= most
    assert told == [*((step + 1, most) for step in range(trace.num_steps)), (trace.num_steps, None)]


def test_an_answer_that_is_given_is_not_written(model: Any) -> None:
    told, trace = heard(model, answer="A dog on the grass.")
    assert told == [(trace.num_steps, None)]


def test_beams_are_written_once(model: Any) -> None:
    told, _ = heard(model, max_new_tokens=5, num_beams=2)
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5), (5, None)]
