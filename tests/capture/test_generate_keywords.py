"""Keywords that nothing takes are refused by name before anything runs; those of `generate` and the model are not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

import lvlmscope as lv
from lvlmscope.capture.generate_keywords import refuse_unknown_keywords
from lvlmscope.errors import UnsupportedOptionError
from lvlmscope.models.families import family_of
from lvlmscope.tiny import scene
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES

IMAGE = Image.new("RGB", (32, 32))
CALLS: dict[str, Callable[..., Any]] = {
    "trace": lambda case, **given: lv.trace(case.model, IMAGE, "w7", processor=tiny_models.processor(), **given),
    "trace_inputs": lambda case, **given: lv.trace_inputs(case.model, case.inputs, **given),
    "trace_many": lambda case, **given: lv.trace_many(
        case.model, [(IMAGE, "w7")], processor=tiny_models.processor(), **given
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gradient", "gradients"),
        ("hidden_state", "hidden_states"),
        ("intervention", "interventions"),
        ("max_mem", "max_memory"),
        ("seeds", "seed"),
        ("max_new_token", "max_new_tokens"),
        ("temprature", "temperature"),
    ],
)
def test_a_misspelt_keyword_gets_the_close_name_before_any_module_runs(call: str, given: str, meant: str) -> None:
    case = tiny_models.llava()
    ran: list[int] = []
    case.model.register_forward_pre_hook(lambda *_: ran.append(1))
    with pytest.raises(UnsupportedOptionError, match=rf"call {call}: got {given}=; .*did you mean '{meant}'"):
        CALLS[call](case, **{given: True})
    assert not ran


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["max_new_tokens", "min_new_tokens", "max_length", "num_beams"])
@pytest.mark.parametrize("value", [2.5, 2.0, "2", True, [2], torch.tensor(2.5), torch.ones(2), xr.DataArray(2)])
def test_a_number_of_tokens_is_whole(call: str, name: str, value: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match=rf"call {call}: got {name}=.*expected: a whole number; pass"):
        CALLS[call](tiny_models.llava(), **{name: value})


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("value", [2, np.int64(2), torch.tensor(2)])
def test_whole_numbers_of_other_libraries_are_numbers_of_tokens(value: Any) -> None:
    assert CALLS["trace"](tiny_models.llava(), max_new_tokens=value).num_steps <= 2


def test_a_keyword_like_no_other_is_refused_too() -> None:
    case = tiny_models.llava()
    with pytest.raises(UnsupportedOptionError, match=r"got zzz=; expected: a parameter of lv\.trace_inputs.*leave it"):
        lv.trace_inputs(case.model, case.inputs, zzz=1)


def test_other_functions_name_the_close_parameter_too() -> None:
    case = tiny_models.llava()
    with pytest.raises(TypeError, match=r"estimate\(\): .*did you mean 'gradients'"):
        lv.estimate(case.model, inputs=case.inputs, gradient=True)
    with pytest.raises(TypeError, match=r"evaluate\(\): .*did you mean 'batch_size'"):
        lv.evaluate(case.model, "tiny-pope", batchsize=2)


@pytest.mark.parametrize("name", ["llava", "instructblip", "qwen2_vl"])
def test_what_generate_or_the_model_takes_is_handed_on(name: str) -> None:
    model = FAMILIES[name]().model
    names = ("max_new_tokens", "do_sample", "stop_strings", "logits_processor", "streamer", "tokenizer", "pixel_values")
    refuse_unknown_keywords(lv.trace, model, family_of(model), dict.fromkeys(names))


def test_stop_strings_take_their_tokenizer_along() -> None:
    model, image = lv.load("tiny"), scene("neutral", 3).image
    options = {"stop_strings": ["image"], "tokenizer": model.processor.tokenizer, "max_new_tokens": 8}
    (stopped,) = lv.trace_many(model, [(image, "Describe the image.")], progress=False, **options)
    assert stopped.answer == " The image"
