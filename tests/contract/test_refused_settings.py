"""Settings of `generate` under which an answer cannot be followed: each value that can, and each that cannot."""

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lvlmscope.errors import UnsupportedOptionError
from lvlmscope.interventions import SGRS
from lvlmscope.runtime.generation_settings import answer_limit, plain_settings, refuse_unsupported
from lvlmscope.runtime.logit_mixing import _refuse
from tests.support import tiny_models
from tests.support.started_sessions import session

MODEL = torch.nn.Linear(1, 1)
# Name: what a trace takes, and what it does not
TRACED: dict[str, tuple[list[Any], list[Any]]] = {
    "num_beams": ([1, None], [2, 3]),
    "num_return_sequences": ([1, None], [2]),
    "guidance_scale": ([1, 1.0, None], [2, 0, 1.5]),
    "penalty_alpha": ([0, 0.0, None], [0.6, 1]),
    "dola_layers": ([None], ["low", [0, 2]]),
    "token_healing": ([False, None], [True]),
    "prompt_lookup_num_tokens": ([None], [1, 3]),
    "assistant_early_exit": ([None], [1]),
    "cache_implementation": (["dynamic", None], ["static", "offloaded"]),
    "prefill_chunk_size": ([None], [1, 4]),
    "use_cache": ([True, None], [False]),
    "max_new_tokens": ([1, 2], [0, -1]),
    "assistant_model": ([None], [MODEL]),
    "custom_generate": ([None], ["some/folder"]),
    "past_key_values": ([None], [object()]),
    "inputs_embeds": ([None], [torch.zeros(1, 1, 48)]),
}
CHOOSING: dict[str, tuple[list[Any], list[Any]]] = {
    "num_beams": ([1, None], [2, 3]),
    "num_return_sequences": ([1, None], [2]),
    "guidance_scale": ([1, 1.0, None], [2, 0, 1.5]),
    "assistant_model": ([None], [MODEL]),
    "assistant_early_exit": ([None], [1]),
    "prompt_lookup_num_tokens": ([None], [1]),
    "custom_generate": ([None], ["some/folder"]),
}


@functools.cache
def core() -> Any:
    return tiny_models.llava().model


def refused_by_a_trace(options: dict[str, Any]) -> None:
    refuse_unsupported(core(), options, batch=1)


def refused_by_sgrs(options: dict[str, Any]) -> None:
    session(SGRS(), 3).begin_generate(options)


def refused_where_logits_are_mixed(options: dict[str, Any]) -> None:
    _refuse(options, SimpleNamespace(**({"guidance_scale": None} | options)))


MIXED: dict[str, tuple[list[Any], list[Any]]] = {
    "guidance_scale": ([1, 1.0, None], [2, 1.5]),
    "assistant_model": ([None], [MODEL]),
    "assistant_early_exit": ([None], [1]),
    "prompt_lookup_num_tokens": ([None], [1]),
    "custom_generate": ([None], ["some/folder"]),
    "dola_layers": ([None], ["low"]),
    "inputs_embeds": ([None], [torch.zeros(1, 1, 48)]),
    "num_beams": ([1, 3], []),
}
ROWS = [
    pytest.param(call, name, *values, id=f"{call.__name__}, {name}")
    for call, table in (
        (refused_by_a_trace, TRACED),
        (refused_by_sgrs, CHOOSING),
        (refused_where_logits_are_mixed, MIXED),
    )
    for name, values in table.items()
]


@pytest.mark.parametrize(("call", "name", "taken", "refused"), ROWS)
def test_each_value_is_taken_or_refused_by_name(call: Any, name: str, taken: list[Any], refused: list[Any]) -> None:
    for value in taken:
        call({name: value})
    for value in refused:
        with pytest.raises(UnsupportedOptionError, match=name):
            call({name: value})


def test_a_models_own_settings_are_turned_off_where_nothing_is_chosen_and_others_stay() -> None:
    case = tiny_models.llava()
    own = case.model.generation_config
    assert plain_settings(case.model) == {}
    own.num_beams, own.use_cache, own.guidance_scale, own.penalty_alpha = 3, False, 1.0, 0.6
    own.max_time, own.top_k = 2.0, 7
    found = plain_settings(case.model)
    assert found == {"num_beams": 1, "use_cache": True, "penalty_alpha": None, "max_time": None}


@pytest.mark.parametrize(
    ("own", "options", "limit"),
    [
        ({}, {"max_new_tokens": 7}, 7),
        ({"max_new_tokens": 5}, {}, 5),
        ({"max_new_tokens": 5}, {"max_new_tokens": 7}, 7),
        ({"max_length": 40}, {}, 30),  # chosen lengths count from the prompt's beginning
        ({}, {"max_length": 12}, 2),
        ({}, {"max_length": 10}, 1),  # a token at least
        ({}, {}, 20),  # the default counts from the prompt's end
    ],
)
def test_an_answer_has_as_many_tokens_as_the_settings_say(
    own: dict[str, Any], options: dict[str, Any], limit: int
) -> None:
    case = tiny_models.llava()
    for name, value in own.items():
        setattr(case.model.generation_config, name, value)
    assert answer_limit(case.model, 10, options) == limit
