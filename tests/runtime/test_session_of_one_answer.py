"""What a session is told of one call of generate: its end, the prompts' inputs, and which prompt each row is of."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import ForwardInfo, ModelInfo, Session
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

STEPS = 4
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}


class Noting:
    """Notes what its sessions are told."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.calls: list[str] = []
        self.forwards: list[ForwardInfo] = []

    def start(self, _: ModelInfo) -> Session:
        noting = self

        class Started(Session):
            def begin_generate(self, options: Mapping[str, Any]) -> None:
                del options
                noting.calls.append("begin")
                if noting.refuses:
                    raise ValueError("not with these options")

            def end_generate(self) -> None:
                noting.calls.append("end")

            def begin_forward(self, forward: ForwardInfo) -> None:
                noting.forwards.append(forward)

        return Started()

    def describe(self) -> dict[str, Any]:
        return {"name": "Noting", "reference": "", "parameters": {}}


def stop(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_the_end_is_told_once_also_when_generation_raises() -> None:
    case, noting = tiny_models.llava(), Noting()
    with intervene(case.model, noting):
        case.model.generate(**case.inputs, **OPTIONS)
        assert noting.calls == ["begin", "end"]
        with pytest.raises(KeyboardInterrupt):
            case.model.generate(**case.inputs, **OPTIONS, stopping_criteria=[stop])
        assert noting.calls == ["begin", "end"] * 2
        case.model(**case.inputs)
    assert noting.calls == ["begin", "end"] * 2


@pytest.mark.filterwarnings("ignore:Noting changed nothing in 0 forwards")
def test_who_refuses_is_told_the_end_and_who_was_not_asked_is_not() -> None:
    case, first, refusing, last = tiny_models.llava(), Noting(), Noting(refuses=True), Noting()
    with intervene(case.model, first, refusing, last), pytest.raises(ValueError, match="not with these options"):
        case.model.generate(**case.inputs, **OPTIONS)
    assert (first.calls, refusing.calls, last.calls) == (["begin", "end"], ["begin", "end"], [])


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_forwards_know_the_prompts_inputs_in_generation_and_replay(family: str) -> None:
    case, noting = FAMILIES[family](2), Noting()
    from_inputs(case.model, case.inputs, interventions=[noting], **OPTIONS)
    assert len(noting.forwards) == STEPS + 1
    for forward in noting.forwards:
        assert set(forward.inputs) == set(case.inputs)
        assert all(torch.equal(forward.inputs[name], value) for name, value in case.inputs.items())
        assert forward.samples.tolist() == [0, 1]


def test_rows_of_beams_know_their_prompt() -> None:
    case, noting = tiny_models.llava(2), Noting()
    with intervene(case.model, noting):
        case.model.generate(**case.inputs, **OPTIONS, num_beams=3)
        assert noting.forwards[-1].samples.tolist() == [0, 0, 0, 1, 1, 1]
        assert len(noting.forwards[-1].inputs["input_ids"]) == 2
        noting.forwards.clear()
        case.model(**case.inputs)
    assert noting.forwards[0].inputs == {}
    assert noting.forwards[0].samples.tolist() == [0, 1]
