"""A part of a model, a pair in the wrong order and an option that nothing takes are refused with what was meant."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

import lvlmscope as lv
from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError
from tests.support import tiny_models

IMAGE = Image.new("RGB", (32, 32))
CALLS: dict[str, Callable[[Any], Any]] = {
    "trace": lambda model: lv.trace(model, IMAGE, "w7", processor=tiny_models.processor()),
    "estimate": lambda model: lv.estimate(model, IMAGE, "w7", processor=tiny_models.processor()),
    "check": lambda model: lv.check(model, processor=tiny_models.processor()),
    "attach": lambda model: lv.attach(model, lv.DLEAF()),
    "load": lambda model: lv.load((model, tiny_models.processor())),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_inner_model_is_called_a_part(call: str) -> None:
    inner = tiny_models.llava().model.model
    with pytest.raises(UnsupportedModelError, match=r"got LlavaModel, a part of a model.*pass what holds it"):
        CALLS[call](inner)


def test_a_pair_in_the_wrong_order() -> None:
    with pytest.raises(UnsupportedModelError, match=r"got \(LlavaProcessor, LlavaForCond.*swap the two"):
        lv.load((tiny_models.processor(), tiny_models.llava().model))


@pytest.mark.parametrize(("name", "fix"), [("chek", "did you mean 'check'"), ("zzz", "leave zzz out")])
def test_an_option_that_nothing_takes(name: str, fix: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=f"got {name}=; expected: a parameter of lv.load.*{fix}"):
        lv.load("tiny", **{name: False})
