"""`confidence` against its twin, from the logits that `generate` itself gave."""

from typing import Any

import torch

import lvlmscope as lv
from lvlmscope.traces.trace import Trace
from tests.reference import certainty
from tests.support import tiny_models
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False}


def test_it_equals_its_twin_on_the_logits_of_the_generation() -> None:
    case = tiny_models.llava()
    trace = from_inputs(case.model, case.inputs, **OPTIONS)
    assert isinstance(trace, Trace)
    made = case.model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
    found = lv.confidence(trace)
    for step, logits in enumerate(made.logits[: trace.num_steps]):
        expected = certainty.confidence(logits[0].double().tolist(), int(trace.answer_ids[step]))
        torch.testing.assert_close(
            torch.from_numpy(found.isel(step=step).values).double(), torch.tensor(expected).double(), atol=1e-5, rtol=0
        )
