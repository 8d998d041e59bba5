"""Diagnoses: planted risks, ranges, the table, interventions that work, the bundled model, and bad input."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.word_table import read_words
from lvlmscope.interventions import DLEAF
from lvlmscope.risk import Calibration, calibration_of, diagnose
from lvlmscope.risk.findings import head_shares
from lvlmscope.risk.recommendations import _layers as told_layers
from lvlmscope.risk.report_tables import configured
from lvlmscope.risk.word_risk import OutOfRange
from lvlmscope.tiny import scene
from tests.reference import detection as twin
from tests.support.labelled_traces import LAYERS, WORDS, labels_of, made
from tests.support.random_traces import blind, random_trace
from tests.support.varied_traces import varied_trace


def focused(hallucinated: bool) -> float:
    return 0.2 if hallucinated else 0.8


@pytest.fixture(scope="module")
def planted() -> Calibration:
    traces = made(60, focus=focused)
    labels = [tuple(word for word in words if word.text == "word1") for words in labels_of(traces)]
    table = read_words(traces, labels)
    return calibration_of(table, model="planted", num_layers=LAYERS, num_heads=2, words=WORDS)


@pytest.fixture(scope="module")
def seen():
    """A held-out scene without its carrot, of which the bundled model speaks."""
    model = lv.load("tiny")
    options = {"gradients": True, "hidden_states": True, "max_new_tokens": 24, "progress": False}
    return model, lv.trace(model, scene("prior", 3).image, "Describe the image.", **options)


def test_a_planted_risk_is_found_with_its_signal_and_range(planted: Calibration) -> None:
    grounded, hallucinated = (diagnose(t, planted) for t in made(2, seed=9, focus=focused))
    assert [word.text for word in grounded.words] == ["word1", "word2"]
    assert grounded.words[0].risk < 0.2 < 0.8 < hallucinated.words[0].risk
    assert grounded.words[0].raised == ()
    raised = hallucinated.words[0].raised[0]
    assert (raised.signal, raised.layer) == ("image_attention_focus", 1)
    assert raised.value == pytest.approx(0.2)
    assert (raised.low, raised.high) == pytest.approx((0.8, 0.8))
    assert hallucinated.words[0] in hallucinated.risky
    assert grounded.words[0] not in grounded.risky
    assert hallucinated.usual_risk == 0.5


def test_ranks_within_an_answer_equal_their_twin() -> None:
    trace = made(1, seed=3)[0]
    found = diagnose(planted_like(trace))
    assert not found.calibrated
    assert np.isnan(found.usual_risk)
    assert "NOT CALIBRATED" in str(found)
    few = diagnose(trace)
    assert all(np.isnan(word.risk) for word in few.words)
    assert few.risky == ()


def test_words_without_a_risk_are_told_without_numbers() -> None:
    few = diagnose(random_trace(0, steps=3, layers=8))
    assert few.interventions
    for told in (str(few), few._repr_html_()):
        assert "too few words, or signals without values, to rank any" in told
        assert "for the first word, diagnosis.apply(model)" in told
        assert "at the first word: perception" in told
        assert "nan" not in told
    assert [line.split()[:2] for line in str(few).splitlines() if line.startswith("word")][2:] == [
        ["word0", "-"],
        ["word1", "-"],
        ["word2", "-"],
    ]
    ranked = diagnose(planted_like(made(1)[0]))
    half = dataclasses.replace(
        ranked, words=(dataclasses.replace(ranked.words[0], risk=float("nan")), *ranked.words[1:])
    )
    lines = [line for line in str(half).splitlines() if line.startswith("word")][2:]
    assert lines[-1].split()[:2] == ["word0", "-"]  # after those with a risk
    assert lines[0].startswith("word7")
    assert "too few" not in str(half)


def planted_like(trace):
    """Eight words whose log-probabilities fall; nothing else differs between them."""
    longer = planted_trace(steps=8, layers=trace.num_layers)
    return dataclasses.replace(longer, log_probs=torch.linspace(-0.1, -4.0, 8))


def test_the_least_likely_word_ranks_highest_without_a_calibration() -> None:
    found = diagnose(planted_like(made(1)[0]))
    risks = [word.risk for word in found.words]
    assert risks == sorted(risks)
    assert [word.text for word in found.risky] == ["word6", "word7"]
    assert [one.signal for one in found.words[7].raised][:1] == ["log_prob"]
    table = {block.title: block for block in found.blocks()}
    assert table["words"].header == ("word", "rank", "raised by")
    assert [row[:2] for row in table["words"].rows] == [(f"word{7 - n}", str(n + 1)) for n in range(8)]
    told = str(found)
    assert " !" not in told
    assert "%" not in "".join(cell for row in table["interventions"].rows for cell in row)
    values = planted_like(made(1)[0]).log_probs.tolist()
    assert found.words[7].raised[0].low == pytest.approx(twin.percentile(values, 0.05), abs=1e-5)


def test_the_bundled_calibration_is_used_by_itself(seen) -> None:
    model, trace = seen
    found = diagnose(trace)
    assert found.calibrated
    assert [word.category for word in found.words] == ["broccoli", "carrot"]
    assert "internal_confidence (no model)" in found.left_out
    better = diagnose(trace, model=model)
    assert better.left_out == ()
    assert [word.text for word in better.risky] == ["carrot"]
    assert better.risky[0].raised[0].signal == "internal_confidence"
    plain = diagnose(dataclasses.replace(trace, gradient=None, hidden_states=None))
    assert "saliency_to_previous (no gradient)" in plain.left_out
    assert all(0 < word.risk < 1 for word in plain.words)


def test_flags_are_those_of_the_intervention_itself(seen) -> None:
    model, trace = seen
    options = {"max_new_tokens": 24, "progress": False}
    watched = lv.trace(model, trace.image, trace.prompt, interventions=[DLEAF(gamma=0.0)], **options)
    expected = watched.effects[0]["flagged_rows_per_layer"]
    found = {str(one.layer): round(one.share * trace.num_steps) for one in diagnose(trace).layers}
    assert found == expected


@pytest.mark.filterwarnings("ignore:.* changed nothing in")  # three tokens: SGRS may accept them all
def test_every_intervention_works_and_is_gone_afterwards(seen) -> None:
    model, trace = seen
    found = diagnose(trace, model=model)
    assert {one.name for one in found.interventions} == {"DLEAF", "CLVA", "LocoRE", "SGRS", "HeadRescaling", "HalluRNN"}
    assert [one.evidence for one in found.interventions] == sorted(
        (one.evidence for one in found.interventions), reverse=True
    )
    options = {"max_new_tokens": 4, "progress": False}
    before = lv.trace(model, trace.image, trace.prompt, **options)
    for one in found.interventions:
        with found.apply(model, one.name.lower()) as handle:
            assert handle.interventions == (one.intervention,)
            model.model.generate(**inputs_of(model, trace), max_new_tokens=3, do_sample=False)
        assert handle.report()[0]["forwards"] > 0
    with found.apply(model) as handle:
        assert handle.interventions == (found.interventions[0].intervention,)
    after = lv.trace(model, trace.image, trace.prompt, **options)
    assert torch.equal(before.attention, after.attention)


def inputs_of(model, trace):
    text = model.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": trace.prompt}]}],
        add_generation_prompt=True,
    )
    return model.processor(images=[trace.image], text=text, return_tensors="pt")


def test_the_table_tells_all_in_a_few_lines(seen) -> None:
    model, trace = seen
    found = diagnose(trace, model=model)
    text = str(found)
    assert text == repr(found)
    assert max(map(len, text.splitlines())) <= 110
    for part in ("answer", "carrot", "internal_confidence, layer -1", "flagged layers", "perception", "LocoRE("):
        assert part in text
        assert part.replace(", ", ", ") in found._repr_html_()
    assert found.__rich__() is not None
    assert configured(DLEAF(gamma=0.5)) == "DLEAF(gamma=0.5)"


def test_what_a_ranking_and_the_flagged_layers_mean_is_said(seen) -> None:
    model, trace = seen
    found = diagnose(trace, model=model)
    text = " ".join(str(found).split())
    assert "18% is usual; ranges: 90 % of correct words; risks are frequencies: a grounded word can rank" in text
    assert "DLEAF is proposed for those flagged at half of the words at risk or more, and for layers never" in text
    calm = dataclasses.replace(found, words=tuple(dataclasses.replace(word, risk=0.1) for word in found.words))
    calm = dataclasses.replace(calm, risky=(), interventions=())
    text = " ".join(str(calm).split())
    assert "correct words; no word is far above it; risks are frequencies" in text
    assert "DLEAF is proposed" not in text


def test_ranges_show_that_the_value_is_outside() -> None:
    told = [
        str(OutOfRange(signal="r_neg", layer=layer, value=value, low=low, high=high))
        for layer, value, low, high in ((2, 0.5, 0.1, 0.25), (None, 3.9912, 3.99, 3.991), (1, 3.9, 3.5, 3.5))
    ]
    assert told[0] == "r_neg, layer 2: 0.5 (usual 0.1 to 0.25)"
    assert told[1] == "r_neg: 3.9912 (usual 3.99 to 3.991)"
    assert told[2] == "r_neg, layer 1: 3.9 (usual 3.5)"


def test_function_words_are_not_judged_where_objects_are_not_known() -> None:
    texts = (" The", " dog", " is", " on", " a", " red", " sofa", " with", " it")
    longer = planted_trace(steps=9, layers=2)
    trace = dataclasses.replace(longer, answer_tokens=texts, answer="".join(texts))
    assert [word.text for word in diagnose(trace).words] == ["dog", "red", "sofa"]
    named = diagnose(trace, words=Vocabulary({"with": ["with"]}))
    assert [word.text for word in named.words] == ["with"]


def test_32_layers_are_told_in_ranges() -> None:
    assert told_layers([*range(4, 20), 22, 23, 31], "looks", "look") == "layers 4-19, 22, 23, 31 look"
    assert configured(DLEAF(layers=[0, *range(4, 20), 22, 23])) == "DLEAF(layers=[0, *range(4, 20), 22, 23])"
    assert configured(DLEAF(layers=range(4, 20))) == "DLEAF(layers=range(4, 20))"
    found = diagnose(random_trace(2, steps=9, layers=32, heads=8))
    text = str(found)
    assert len(text.splitlines()) < 45
    assert "(unscaled)" in text
    assert all("at the words that rank highest (rank 0." in one.reason for one in found.interventions[2:])
    flagged = text[text.index("flagged layers") :].splitlines()[0]
    assert "-" in flagged
    assert "tokens" in flagged


def test_head_shares_are_those_of_the_words_at_risk() -> None:
    trace = random_trace(3, steps=9, layers=8, heads=8)
    found = diagnose(trace)
    assert found.shares is not None
    steps = [word.steps[0] for word in found.risky]
    ratio = trace.attention[..., trace.image_keys].sum(-1)
    assert found.shares.ratio == pytest.approx(float(ratio[steps].mean()), abs=1e-6)
    whole = head_shares(trace, range(9))
    assert whole is not None
    # Half of 6.4 % of all heads at all steps, as the thresholds are chosen
    assert round(whole.perception * 576) == round(whole.reasoning * 576) == round(0.032 * 576)
    assert "at the words that rank highest: perception" in str(found)


def test_one_layer_looks_and_several_look() -> None:
    assert told_layers([4], "looks", "look") == "layer 4 looks"
    assert told_layers([5, 4], "looks", "look") == "layers 4, 5 look"
    assert told_layers([4]) == "layer 4"


def test_nothing_to_judge_and_no_intervention() -> None:
    trace = planted_trace(steps=1)
    silent = dataclasses.replace(trace, answer_tokens=("",), answer="")
    found = diagnose(silent)
    assert found.words == ()
    assert "no word to judge" in str(found)
    with pytest.raises(ModelInputError, match=r"no proposal at all; expected: none for this trace"):
        found.apply(torch.nn.Linear(1, 1))


def test_bad_input_is_refused(planted: Calibration, seen) -> None:
    model, trace = seen
    with pytest.raises(ModelInputError, match="8 layers of 8 heads, and a calibration of 'planted'"):
        diagnose(trace, planted)
    with pytest.raises(ModelInputError, match="a trace without image keys"):
        diagnose(blind(trace))
    with pytest.raises(ModelInputError, match="got 'magic'; expected: "):
        diagnose(trace, model=model).apply(model, "magic")


@pytest.mark.parametrize(("layers", "bands"), [(2, None), (3, ((0,), (1,), (2,))), (4, ((0,), (2,), (3,)))])
def test_three_layers_are_the_fewest_for_clva(layers: int, bands: tuple[tuple[int, ...], ...] | None) -> None:
    found = {each.name: each.intervention for each in diagnose(varied_trace(layers=layers)).interventions}
    chosen: Any = found.get("CLVA")
    assert (None if chosen is None else (chosen.initial, chosen.middle, chosen.deep)) == bands
