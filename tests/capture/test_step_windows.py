"""Signals of an answer that is too long for the memory allowed: some steps at a time, the values of the whole."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope.capture import step_windows, traced_batch
from lvlmscope.capture.generation import generate_answer
from lvlmscope.capture.portions import Portions
from lvlmscope.capture.row_recorder import RowRecorder
from lvlmscope.capture.signal_reduction import reducing
from lvlmscope.capture.traced_batch import replay_prepared
from lvlmscope.decoding.generation_record import Generation, steps_between
from lvlmscope.errors import MemoryLimitError, ReplayError
from lvlmscope.inputs.preparation import ModelInputs
from lvlmscope.models.loaded_model import family_for
from lvlmscope.tiny import scene
from lvlmscope.traces.signal_trace import SignalTrace
from tests.support.tiny_families import FAMILIES, FamilyCase
from tests.support.tiny_others import OTHERS

PROMPT = "Describe the image."
STEPWISE = [each.name for each in lv.list_signals() if each.stepwise]
LONG: dict[str, Any] = {"max_new_tokens": 24, "progress": False}


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


def _agree(found: SignalTrace, whole: SignalTrace) -> None:
    assert (found.answer, found.answer_tokens, found.layers) == (whole.answer, whole.answer_tokens, whole.layers)
    assert found.answer_ids.tolist() == whole.answer_ids.tolist()
    assert found.values.keys() == whole.values.keys()
    for name, values in whole.values.items():
        np.testing.assert_allclose(found.values[name], values, rtol=2e-4, atol=2e-5, err_msg=name)


def test_what_a_window_may_read_is_declared_and_known() -> None:
    """Those left out count steps, choose heads over all steps, or average over the answer's keys."""
    others = {each.name for each in lv.list_signals() if not each.stepwise and "model" not in each.needs}
    assert others == {"position", "sensitive_head_entropy", "saliency_to_previous", "saliency_to_answer"}
    assert not any("model" in each.needs for each in lv.list_signals() if each.stepwise)


@pytest.mark.parametrize("given", [False, True], ids=["generated", "given"])
def test_windows_give_the_values_of_the_whole(model: lv.LoadedModel, given: bool) -> None:
    image = scene("prior", 0).image
    options: dict[str, Any] = {"keep": "signals", "signals": STEPWISE, "progress": False}
    options |= {"answer": "a cat sits beside a lamp and a red ball"} if given else {"max_new_tokens": 24}
    whole = lv.trace(model, image, PROMPT, **options)
    found = lv.trace(model, image, PROMPT, max_memory="6MB", **options)
    window = found.provenance["replay"]["window"]
    assert 1 <= window < whole.num_steps
    assert "window" not in whole.provenance["replay"]
    assert {**found.provenance["replay"], "window": None, "difference": 0} == {
        **whole.provenance["replay"],
        "window": None,
        "difference": 0,
        "tolerance": found.provenance["replay"]["tolerance"],
    }
    for part in ("images", "prompt_length", "prompt_text", "generation", "model"):
        assert found.provenance[part] == whole.provenance[part], part
    _agree(found, whole)


def _signals(case: FamilyCase, held: Portions, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[SignalTrace]:
    """Signals of a batch of answers, the last of which ends early."""
    monkeypatch.setattr(traced_batch, "portions", lambda *_, **__: held)
    family = family_for(case.model)
    wanted = reducing(STEPWISE, gradients=False, hidden_states=False, max_memory="1GB")
    generation = {"max_new_tokens": 7, "min_new_tokens": 2, "do_sample": False} | options
    prepared = ModelInputs(inputs=case.inputs)
    return replay_prepared(case.model, family, prepared, wanted, generation=generation).signals()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen3_vl", "smolvlm", "internvl", "aya_vision"])
def test_windows_of_any_size_in_every_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES[family](2)
    whole = _signals(case, Portions(), monkeypatch)
    ended = {"eos_token_id": int(whole[1].answer_ids[3])}
    whole = _signals(case, Portions(), monkeypatch, **ended)
    for size in (1, 3):
        found = _signals(case, Portions(window=size), monkeypatch, **ended)
        assert [each.num_steps for each in found] == [each.num_steps for each in whole]
        for one, other in zip(found, whole, strict=True):
            _agree(one, other)


def test_answers_that_are_replayed_from_the_start_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemoryLimitError, match="replayed from the start; expected: a cache that can be cut"):
        _signals(OTHERS["qwen3_5"](1), Portions(window=2), monkeypatch)


def test_spans_are_those_of_the_whole_answer(model: lv.LoadedModel) -> None:
    made = copy.copy(model.processor)
    made.chat_template = model.processor.chat_template + "{# <think></think> #}"
    thinking = lv.LoadedModel(model=model.model, processor=made, name="thinking", family=model.family)
    answer = "<think> a dog or a cat sits beside a lamp</think> A dog."
    options: dict[str, Any] = {"keep": "signals", "signals": ["layer_image_entropy"], "progress": False}
    whole = lv.trace(thinking, scene("prior", 0).image, PROMPT, answer=answer, **options)
    found = lv.trace(thinking, scene("prior", 0).image, PROMPT, answer=answer, **(options | {"max_memory": "600KB"}))
    assert found.provenance["replay"]["window"] < found.num_steps / 2
    assert whole.spans is not None
    assert found.spans == whole.spans


def test_a_window_that_disagrees_is_no_result(model: lv.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(generation: Generation, start: int, stop: int) -> Generation:
        window = steps_between(generation, start, stop)
        return replace(window, logits=window.logits + 9) if start else window

    monkeypatch.setattr(step_windows, "steps_between", spoiled)
    options: dict[str, Any] = {"keep": "signals", "signals": STEPWISE, "max_memory": "6MB"}
    with pytest.raises(ReplayError, match="some steps at a time: got logits that differ by 9"):
        lv.trace(model, scene("prior", 0).image, PROMPT, **options, **LONG)


def test_rows_of_one_window_are_held_at_a_time(model: lv.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    kept = RowRecorder.kept

    def watched(self: RowRecorder, values: torch.Tensor, layer: int) -> torch.Tensor:
        steps.append(values.shape[1])
        return kept(self, values, layer)

    monkeypatch.setattr(RowRecorder, "kept", watched)
    options: dict[str, Any] = {"keep": "signals", "signals": STEPWISE, "max_memory": "6MB"}
    found = lv.trace(model, scene("prior", 0).image, PROMPT, **options, **LONG)
    window = found.provenance["replay"]["window"]
    sizes = [min(window, found.num_steps - start) for start in range(0, found.num_steps, window)]
    assert steps == [size for size in sizes for _ in range(16)]  # rows and gradients of each of eight layers


def test_signals_of_all_steps_are_named_where_memory_is_short(model: lv.LoadedModel) -> None:
    image = scene("prior", 0).image
    options: dict[str, Any] = {"keep": "signals", "max_memory": "500KB"}
    words = "without position, sensitive_head_entropy some steps at a time can be read"
    with pytest.raises(MemoryLimitError, match=words):
        lv.trace(model, image, PROMPT, **options, **LONG)
    with pytest.raises(
        MemoryLimitError, match=r"choose one of these\.$"
    ):  # an intervention goes through it from the start
        lv.trace(model, image, PROMPT, signals=STEPWISE, interventions=lv.CLVA(), **options, **LONG)
    with pytest.raises(MemoryLimitError, match=r"for max_memory of 0\.0 MB"):
        lv.trace(model, image, PROMPT, signals=STEPWISE, **(options | {"max_memory": "10KB"}), **LONG)


def test_a_window_is_the_end_of_a_longer_prompt() -> None:
    case = FAMILIES["qwen2_5_vl"](2)
    made = generate_answer(
        case.model, family_for(case.model), case.inputs, {"max_new_tokens": 6, "do_sample": False}, progress=False
    )
    window = steps_between(made, 2, 5)
    prompt = made.prompt_length
    assert (window.prompt_length, window.num_steps, window.steps) == (prompt + 2, 3, (3, 3))
    assert window.ids.tolist() == made.ids[:, : prompt + 5].tolist()
    assert window.attention_mask.shape[1] == prompt + 4
    assert made.position_ids is not None
    assert window.position_ids is not None
    assert window.position_ids.tolist() == made.position_ids[..., 2:5].tolist()
    assert window.logits.tolist() == made.logits[:, 2:5].tolist()
    assert steps_between(replace(made, steps=(6, 3)), 2, 5).steps == (3, 1)
    assert steps_between(replace(made, steps=(6, 1)), 2, 5).steps == (3, 0)
