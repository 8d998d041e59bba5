"""Labelled arrays: attributes that are required."""

import pytest
import torch

import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError


@pytest.mark.parametrize("left_out", ["long_name", "units", "bounds", "reference"])
def test_an_array_without_one_of_its_attributes_is_refused(left_out: str) -> None:
    attrs = {"long_name": "steps", "units": "1", "bounds": None, "reference": "this test"}
    trace = planted_trace(steps=2)
    assert lv.labelled_array(trace, torch.ones(2), ("step",), **attrs).name == "steps"
    del attrs[left_out]
    with pytest.raises(ModelInputError, match=f"label an array: got no {left_out}; expected: long_name, units, bounds"):
        lv.labelled_array(trace, torch.ones(2), ("step",), **attrs)
