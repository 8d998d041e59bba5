"""Wrong input to the lenses is refused with a word about what to give."""

from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import ModelInputError, UnsupportedModelError
from tests.support.random_traces import random_trace

pytestmark = pytest.mark.usefixtures("unchecked_shapes")
each_lens = pytest.mark.parametrize("lens", [lv.logit_lens, lv.internal_confidence, lv.lenses.patch_lens])


@each_lens
@pytest.mark.parametrize("model", ["tiny", None, 3, torch.nn.Linear(1, 1)])
def test_what_is_no_model_is_refused(lens: Any, model: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"expected: what lv\.load gives, or a Hugging Face model"):
        lens(random_trace(0, layers=8), model)


@each_lens
@pytest.mark.parametrize("trace", ["trace.safetensors", None, 3])
def test_what_is_no_trace_is_refused(lens: Any, trace: Any) -> None:
    with pytest.raises(ModelInputError, match="expected: a trace"):
        lens(trace, lv.load("tiny"))
