"""Where `tune` looks: ranges that go up, choices that differ, and values that each method takes."""

from typing import Any

import pytest

from lvlmscope.attention.layer_bands import resolve_layers
from lvlmscope.interventions.registry import list_interventions

REQUIRED: dict[str, dict[str, Any]] = {
    "ADHH": {"heads": ("0.1",)},
    "Steering": {"directions": "a file"},
    "HeadRescaling": {"tau_perc": 0.05, "tau_reas": 0.0},
}
CARDS = {name: kind.card for name, kind in list_interventions().items() if getattr(kind, "card", None) is not None}


@pytest.mark.parametrize("name", CARDS)
def test_every_end_and_choice_of_a_search_space_configures_its_method(name: str) -> None:
    kind, space = list_interventions()[name], CARDS[name].search_space
    required = REQUIRED.get(kind.__name__, {})
    for parameter, values in space.items():
        if isinstance(values, tuple):
            low, high = values
            assert low < high, parameter
            assert type(low) is type(high), parameter
        else:
            assert len(values) > 1, parameter
            assert all(values.count(each) == 1 for each in values), parameter
        for value in values:
            made = kind(**(required | {parameter: value}))
            assert getattr(made, parameter) == value
            if isinstance(value, tuple):  # a band of depth, which a model of any depth has
                assert 0 < len(resolve_layers(value, 32)) <= 32
