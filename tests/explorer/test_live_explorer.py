"""Interventions tried from a page: the same trace again under what was asked for, each error one sentence."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope import DLEAF, Trace
from lvlmscope.errors import InterventionError, ModelInputError
from lvlmscope.explorer.intervention_controls import intervention_controls, made_stack, proposal_controls
from lvlmscope.explorer.live_trace import trace_again
from lvlmscope.explorer.requests import LiveExplorer
from lvlmscope.tiny import scene

PROMPT = "Describe the image."


@pytest.fixture(scope="module")
def model() -> Any:
    return lv.load("tiny", check=False)


@pytest.fixture(scope="module")
def trace(model: Any) -> Trace:
    return lv.trace(model, scene("prior", 3).image, PROMPT, max_new_tokens=14)


@pytest.fixture
def live(trace: Trace, model: Any) -> LiveExplorer:
    return LiveExplorer(trace, model)


def form(name: str) -> dict[str, dict[str, Any]]:
    (found,) = [each for each in intervention_controls() if each["name"] == name]
    return {each["name"]: each for each in found["parameters"]}


def stack(name: str, **values: Any) -> list[dict[str, Any]]:
    return [{"name": name, "values": values}]


def test_controls_follow_what_the_interventions_declare() -> None:
    dleaf, locore = form("DLEAF"), form("LocoRE")
    assert dleaf["gamma"] == {
        "name": "gamma",
        "expected": "a number from 0 to 1",
        "control": "number",
        "value": 0.9,
        "whole": False,
        "low": 0,
        "high": 1,
    }
    assert (dleaf["threshold"]["control"], dleaf["threshold"]["choices"]) == ("select", ["min", "max", "mean"])
    assert (dleaf["heads"]["control"], dleaf["heads"]["value"]) == ("text", "below_mean")
    assert (dleaf["layers"]["control"], dleaf["layers"]["value"]) == ("text", "(0.0, 1.0)")
    assert (locore["own_key"]["control"], locore["own_key"]["value"]) == ("switch", True)
    assert (locore["window"]["whole"], locore["window"]["low"], locore["window"]["high"]) == (True, 1, 12)  # searched
    assert form("HeadRescaling")["freeze"]["choices"] == ["prompt", None]
    assert "low" not in form("VCD")["seed"]


def test_an_intervention_that_needs_a_file_is_not_offered() -> None:
    offered = {each["name"] for each in intervention_controls()}
    assert offered == set(lv.list_interventions()) - {"ADHH", "Steering"}


@pytest.mark.parametrize("each", intervention_controls(), ids=lambda each: each["name"])
def test_a_form_as_it_comes_makes_the_default(each: dict[str, Any]) -> None:
    values = {one["name"]: one["value"] for one in each["parameters"]}
    (made,) = made_stack([{"name": each["name"], "values": values}])
    assert made == lv.list_interventions()[each["name"]]()


def test_proposals_are_values_of_the_form(trace: Trace, model: Any) -> None:
    proposed = lv.diagnose(trace, model=model).interventions
    assert proposed
    for control, proposal in zip(proposal_controls(proposed), proposed, strict=True):
        assert control["reason"] == proposal.reason
        assert made_stack([control]) == (proposal.intervention,)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("asked", "error", "match"),
    [
        (stack("DLEAF", gamma=3), ModelInputError, r"gamma=3; expected: a number from 0 to 1"),
        (stack("DLEAF", gamma=None), InterventionError, "gamma=None of type NoneType"),
        (stack("DLEAF", threshold="mid"), ModelInputError, "threshold='mid'"),
        (stack("DLEAF", layers="(0.0, "), InterventionError, "layers='\\(0.0, '"),
        (stack("DLEAF", strength=1), InterventionError, "'strength'"),
        (stack("DLAEF"), InterventionError, "DLEAF"),
        ([], ModelInputError, "0 interventions; expected: 1 to 16 interventions"),
        (stack("DLEAF") * 17, ModelInputError, "17 interventions"),
        ("DLEAF", ModelInputError, "got str"),
        (["DLEAF"], ModelInputError, "got list"),
    ],
)
def test_what_a_form_may_not_ask_for(asked: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        made_stack(asked)


def test_a_run_is_the_trace_under_the_intervention(live: LiveExplorer, trace: Trace, model: Any) -> None:
    told, buffers = live.answer({"id": 7, "kind": "run", "stack": stack("DLEAF", gamma=0.5)})
    assert (told["id"], buffers) == (7, [])
    own = lv.trace(model, scene("prior", 3).image, PROMPT, max_new_tokens=14, interventions=DLEAF(gamma=0.5))
    assert live.latest is not None
    assert live.latest.answer == own.answer
    assert torch.equal(live.latest.attention, own.attention)
    shown = told["document"]
    assert [each["answer"] for each in shown["sides"]] == [trace.answer, own.answer]
    assert [each["label"] for each in shown["sides"]] == ["without the intervention", "with the intervention"]
    assert any("DLEAF: edited" in line for line in shown["effect"])


def test_maps_are_those_of_the_document_that_is_named(live: LiveExplorer) -> None:
    asked = {"id": 1, "kind": "heat", "side": 1, "quantity": "attention", "word": 0}
    first, second = (
        live.answer({"kind": "run", "stack": stack("DLEAF", gamma=gamma)})[0]["document"]["live"]["document"]
        for gamma in (0.2, 0.9)
    )
    told, (data,) = live.answer(asked | {"document": second})
    assert told == {"id": 1}
    assert live.latest is not None
    steps = live.latest.attention[0][..., live.latest.image_keys].sum(-1)
    assert np.frombuffer(data, "<f4").reshape(steps.shape) == pytest.approx(steps.numpy(), rel=1e-5)
    assert "a request for an earlier run" in live.answer(asked | {"document": first})[0]["error"]
    beginning = live.values["live"]["document"]
    assert live.answer(asked | {"side": 0, "document": beginning})[1]
    assert "IndexError" in live.answer(asked | {"document": beginning})[0]["error"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_of_a_run_are_a_sentence_and_change_nothing(live: LiveExplorer) -> None:
    told, _ = live.answer({"id": 3, "kind": "run", "stack": stack("DLEAF", gamma=3)})
    assert told == {
        "id": 3,
        "error": "configure DLEAF: got gamma=3; expected: a number from 0 to 1; choose gamma there.",
    }
    told, _ = live.answer({"id": 4, "kind": "run", "stack": stack("HalluRNN", cell="/no/such/cell")})
    assert "/no/such/cell" in told["error"]
    assert "document" not in live.answer({"kind": "run"})[0]
    assert live.latest is None


def test_memory_that_is_not_there_is_a_sentence(live: LiveExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Trace:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")

    monkeypatch.setattr("lvlmscope.explorer.requests.trace_again", full)
    told, _ = live.answer({"id": 1, "kind": "run", "stack": stack("DLEAF")})
    assert told == {"id": 1, "error": "CUDA out of memory. Tried to allocate 2.00 GiB."}


def test_the_diagnosis_brings_its_proposals(live: LiveExplorer) -> None:
    part = live.answer({"id": 1, "kind": "part", "side": 0, "part": "diagnosis", "document": 0})[0]["part"]
    assert {each["name"] for each in part["proposals"]} <= set(lv.list_interventions())
    assert part["proposals"][0].keys() == {"name", "reason", "values"}


def test_a_trace_is_made_again_as_it_was(model: Any) -> None:
    image = scene("prior", 3).image
    options: dict[str, Any] = {"gradients": True, "hidden_states": True, "keep": "image_answer", "seed": 5}
    options |= {"precision": "float16", "do_sample": True, "temperature": 1.4, "max_new_tokens": 6}
    before = lv.trace(model, image, PROMPT, **options)
    again = trace_again(before, model, ())
    assert again.answer == before.answer
    assert again.attention.dtype == torch.float16
    assert torch.equal(again.attention, before.attention)
    assert again.gradient is not None
    assert again.hidden_states is not None
    assert again.provenance["generation"] == before.provenance["generation"]


def test_a_given_answer_is_given_again(model: Any) -> None:
    before = lv.trace(model, scene("prior", 3).image, PROMPT, answer="a broccoli and a dog")
    after = trace_again(before, model, [DLEAF(gamma=0.5)])
    assert after.answer_ids.tolist() == before.answer_ids.tolist()
    assert not torch.equal(after.attention, before.attention)


def test_traces_that_cannot_be_made_again(trace: Trace, model: Any) -> None:
    with pytest.raises(ModelInputError, match="trace again: got a trace without its images"):
        trace_again(replace(trace, images=()), model, ())
    settings = trace.provenance["generation"] | {"logits_processor": ["Mine"]}
    lost = replace(trace, provenance=trace.provenance | {"generation": settings})
    with pytest.raises(ModelInputError, match="made with logits_processor"):
        trace_again(lost, model, ())


def test_a_notebook_gets_the_latest_run(trace: Trace, model: Any) -> None:
    widget = lv.explore(trace, model=model, diagnosis=False)
    assert widget.latest is None
    sent: list[Any] = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    widget._handle_custom_msg({"id": 1, "kind": "run", "stack": stack("DLEAF", gamma=0.5)}, [])
    before, last = [each for each, _ in sent[:-1]], sent[-1][0]
    assert [before[0], before[-1]] == [{"id": 1, "progress": [1, 14]}, {"id": 1, "progress": [14, None]}]
    assert last["document"]["sides"][1]["answer"] == widget.latest.answer
    assert lv.explore(trace, diagnosis=False).latest is None


def test_a_defect_does_not_leave_the_page_waiting(trace: Trace, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Trace:
        raise ZeroDivisionError

    monkeypatch.setattr("lvlmscope.explorer.requests.trace_again", broken)
    widget = lv.explore(trace, model=model, diagnosis=False)
    sent: list[Any] = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    with pytest.raises(ZeroDivisionError):
        widget._msg_callbacks.callbacks[0](widget, {"id": 9, "kind": "run", "stack": stack("DLEAF")}, [])
    assert sent == [({"id": 9, "error": "interrupted, or a defect: the notebook's log has the traceback"}, [])]
