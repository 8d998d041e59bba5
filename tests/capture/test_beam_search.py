"""Traces of beam search: the kept hypothesis with its own rows, against eager beams and against given answers."""

from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.capture.generation import generate_answer
from lvlmscope.errors import UnsupportedOptionError
from lvlmscope.interventions import CLVA, DLEAF, OPERA, VCD
from lvlmscope.models.families import family_of
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

STEPS = 6
BEAMS = 3
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
BEAM: dict[str, Any] = {"num_beams": BEAMS, "length_penalty": 1.0}
METHODS: dict[str, Intervention | None] = {
    "plain": None,
    "DLEAF": DLEAF(),
    "CLVA": CLVA(initial=[0], middle=[1], deep=[2]),
    "VCD": VCD(beta=0.0),
    "OPERA": OPERA(candidates=8, image_steps=1, scale=20.0, factor=0.5),
}


def searched(case: Any, method: Intervention | None, inputs: Any) -> Any:
    """Eager beams with all that they give."""
    case.model.set_attn_implementation("eager")
    returned: dict[str, Any] = {"return_dict_in_generate": True, "output_logits": True, "output_attentions": True}
    try:
        with intervene(case.model, *([method] if method else [])):
            return case.model.generate(**inputs, **OPTIONS, **BEAM, **returned, output_scores=True)
    finally:
        case.model.set_attn_implementation("sdpa")


@pytest.mark.parametrize("name", METHODS)
def test_a_trace_is_of_the_beams_that_the_kept_answer_came_from(name: str) -> None:
    case, method = tiny_models.llava(2), METHODS[name]
    traces = from_inputs(case.model, case.inputs, interventions=[method] if method else [], **OPTIONS, **BEAM)
    assert isinstance(traces, list)
    found = searched(case, method, case.inputs)
    moved = False
    for sample, trace in enumerate(traces):
        answer, beams = found.sequences[sample, -STEPS:], found.beam_indices[sample].tolist()
        assert trace.answer_ids.tolist() == answer.tolist()
        moved |= len({beam % BEAMS for beam in beams[1:]}) > 1
        for step, (beam, token) in enumerate(zip(beams, answer.tolist(), strict=True)):
            own = found.logits[step][beam].log_softmax(-1)[token]
            torch.testing.assert_close(trace.log_probs[step], own, atol=1e-5, rtol=1e-5)
            if trace.mixed_log_probs is not None:
                mixed = found.scores[step][beam, token]
                torch.testing.assert_close(trace.mixed_log_probs[step], mixed, atol=1e-5, rtol=1e-5)
            if method is None:
                visible = case.inputs["attention_mask"][sample].bool()
                for layer in range(trace.attention.shape[1]):
                    row = found.attentions[step][layer][beam, :, -1]
                    keys = torch.cat([row[:, : len(visible)][:, visible], row[:, len(visible) :]], 1)
                    torch.testing.assert_close(
                        trace.attention[step, layer][:, : keys.shape[1]], keys, atol=1e-5, rtol=0
                    )
        assert trace.provenance["replay"]["difference"] < 1e-4
        assert trace.provenance["generation"]["num_beams"] == BEAMS
    assert moved, "beams that never cross prove little"
    if method is not None:
        assert traces[0].effects[0]["changed"]
        assert traces[0].effects[0]["forwards"] >= STEPS
    if name in ("VCD", "OPERA"):
        assert traces[0].mixed_log_probs is not None


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "smolvlm", "mllama"])
def test_a_kept_answer_is_traced_as_if_it_were_given(family: str) -> None:
    case = FAMILIES[family]()
    found = from_inputs(case.model, case.inputs, **OPTIONS, **BEAM)
    assert isinstance(found, Trace)
    given = from_inputs(case.model, case.inputs, answer=found.answer_ids.tolist())
    torch.testing.assert_close(found.attention, given.attention, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.log_probs, given.log_probs, atol=1e-5, rtol=1e-5)


def test_answers_that_end_at_different_steps_keep_their_own_lengths() -> None:
    case = tiny_models.llava(2)
    plain = from_inputs(case.model, case.inputs, **OPTIONS, **BEAM)
    assert isinstance(plain, list)
    ends = int(plain[0].answer_ids[2])
    both = from_inputs(case.model, case.inputs, **OPTIONS, **BEAM, eos_token_id=ends)
    assert isinstance(both, list)
    for number, trace in enumerate(both):
        alone = from_inputs(case.model, case.sample(number), **OPTIONS, **BEAM, eos_token_id=ends)
        assert isinstance(alone, Trace)
        assert trace.answer_ids.tolist() == alone.answer_ids.tolist()
        assert ends not in trace.answer_ids[:-1].tolist()
        torch.testing.assert_close(trace.log_probs, alone.log_probs, atol=1e-5, rtol=1e-5)


def test_a_report_counts_the_search_and_not_what_follows_it() -> None:
    case = tiny_models.llava()
    with intervene(case.model, DLEAF()) as handle:
        case.model.generate(**case.inputs, **OPTIONS, **BEAM)
        expected = handle.report()
        trace = lv.trace_inputs(case.model, case.inputs, **OPTIONS, **BEAM)[0]
    assert trace.effects == expected


def test_sampled_beams_are_refused_by_name() -> None:
    case = tiny_models.llava()
    with pytest.raises(UnsupportedOptionError, match=r"got num_beams=3; .*leave num_beams out"):
        from_inputs(case.model, case.inputs, **(OPTIONS | {"do_sample": True}), num_beams=3)


def test_what_generates_one_row_for_each_sample_refuses_beams() -> None:
    case = tiny_models.llava()
    with pytest.raises(UnsupportedOptionError, match="num_beams"):
        generate_answer(case.model, family_of(case.model), case.inputs, OPTIONS | BEAM, progress=False)
