"""HeadRescaling: against its slow twin, planted heads, presets, thresholds from a trace, and bad parameters."""

from typing import Any

import pytest
import torch

from lvlmscope.attention.functional_head_rule import PRESETS, HeadRule
from lvlmscope.diagnostics import functional_heads, planted_trace
from lvlmscope.errors import ModelInputError, UnsupportedOptionError
from lvlmscope.interventions import HeadRescaling
from lvlmscope.runtime.attachment import attach, intervene
from lvlmscope.traces.trace import Trace
from tests.reference import decoder, rescaling
from tests.reference.functional_heads import TABLE
from tests.support import tiny_models
from tests.support.started_sessions import OPTIONS, STEPS, layer_rows, session, traced
from tests.support.tiny_others import OTHERS
from tests.support.tiny_variants import VARIANTS
from tests.support.traced import from_inputs

RULE: dict[str, Any] = {"l_perc": 1, "tau_perc": 0.6, "g_perc": 1.5, "l_reas": 1, "tau_reas": 0.3, "g_reas": 0.4}


@pytest.mark.parametrize("freeze", [None, "prompt"])
@pytest.mark.parametrize("rows", ["all", "last"])
def test_agrees_with_its_twin(freeze: Any, rows: Any) -> None:
    case = tiny_models.llava()
    found = traced(case, HeadRescaling(**RULE, freeze=freeze, rows=rows))
    ids = torch.cat([case.inputs["input_ids"][0], found.answer_ids[:-1]])
    embeds = decoder.embeddings(case.model, ids, case.inputs["pixel_values"])
    heads = rescaling.Heads(case.image_mask[0].nonzero().flatten().tolist(), **RULE, frozen=freeze == "prompt")
    first = found.prompt_length - 1
    logits = decoder.logits(
        case.model, embeds, first, lambda _, __, w, ___: w, gain=heads.gain, gain_before=rows == "all"
    )
    expected = torch.log_softmax(logits, -1)
    chosen = expected.gather(-1, found.answer_ids.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.log_probs, chosen.float(), atol=1e-5, rtol=1e-5)
    tops = expected.gather(-1, found.top_ids).float()
    torch.testing.assert_close(found.top_log_probs, tops, atol=1e-5, rtol=1e-5)
    report, pairs = found.effects[0], STEPS * 3 * 6
    assert heads.perception > 0
    assert heads.reasoning > 0
    assert report["perception_share"] == pytest.approx(heads.perception / pairs)
    assert report["reasoning_share"] == pytest.approx(heads.reasoning / pairs)
    assert report["scaled_heads"] == heads.perception + heads.reasoning


OPTIONAL: list[dict[str, Any]] = [
    {"queries": 2},
    {"queries": 9},
    {"layer_strength": (0.5, 2.0, 1.5)},
    {"row_strength": "unseen"},
    {"queries": 3, "layer_strength": (0.5, 2.0, 0.0), "row_strength": "unseen"},
]


@pytest.mark.parametrize("options", OPTIONAL)
def test_options_of_our_own_agree_with_the_twin(options: dict[str, Any]) -> None:
    case = tiny_models.llava()
    plain, found = (traced(case, HeadRescaling(**RULE, **each)) for each in ({}, options))
    ids = torch.cat([case.inputs["input_ids"][0], found.answer_ids[:-1]])
    embeds = decoder.embeddings(case.model, ids, case.inputs["pixel_values"])
    heads = rescaling.Heads(case.image_mask[0].nonzero().flatten().tolist(), **RULE, frozen=False, **options)
    logits = decoder.logits(
        case.model, embeds, found.prompt_length - 1, lambda _, __, w, ___: w, gain=heads.gain, gain_before=True
    )
    expected = torch.log_softmax(logits, -1).gather(-1, found.answer_ids.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    assert not torch.equal(found.log_probs[1:], plain.log_probs[1:])
    pairs = STEPS * 3 * 6
    assert found.effects[0]["perception_share"] == pytest.approx(heads.perception / pairs)
    assert found.effects[0]["reasoning_share"] == pytest.approx(heads.reasoning / pairs)


def test_options_of_our_own_are_the_same_in_a_batch_and_without_a_cache() -> None:
    case = tiny_models.llava(2)
    options = OPTIONS | {"return_dict_in_generate": True, "output_logits": True}
    with intervene(case.model, HeadRescaling(**RULE, **OPTIONAL[-1])):
        batch = case.model.generate(**case.inputs, **options)
        uncached = case.model.generate(**case.inputs, **options, use_cache=False)
        alone = [case.model.generate(**case.sample(number), **options) for number in range(2)]
    for step, logits in enumerate(batch.logits):
        torch.testing.assert_close(logits, torch.cat([one.logits[step] for one in alone]), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits, uncached.logits[step], atol=1e-4, rtol=1e-4)


def test_factors_of_one_are_the_paper_to_the_last_bit() -> None:
    case = tiny_models.llava()
    plain, ones = (traced(case, HeadRescaling(**RULE, **each)) for each in ({}, {"layer_strength": (1.0,) * 3}))
    assert torch.equal(plain.log_probs, ones.log_probs)


def test_several_rows_are_refused_under_beams_and_beside_frozen_classes() -> None:
    case = tiny_models.llava()
    beams = pytest.raises(UnsupportedOptionError, match="num_beams=2 with queries=3")
    with beams, intervene(case.model, HeadRescaling(**RULE, queries=3)):
        case.model.generate(**case.inputs, **OPTIONS, num_beams=2)
    with pytest.raises(ModelInputError, match="queries=2 and freeze='prompt'"):
        HeadRescaling(**RULE, queries=2, freeze="prompt")
    with pytest.raises(ModelInputError, match="factors of 0 or more"):
        HeadRescaling(**RULE, layer_strength=(1.0, -1.0, 1.0))
    with (
        pytest.raises(ModelInputError, match="2 factors in layer_strength"),
        intervene(case.model, HeadRescaling(**RULE, layer_strength=(1.0, 1.0))),
    ):
        pass


def test_planted_heads_are_found_and_scaled() -> None:
    started = session(HeadRescaling(l_perc=0, tau_perc=0.5, g_perc=2.0, l_reas=1, tau_reas=0.1, g_reas=3.0), 2)
    weights = [[0.1, 0.5, 0.4, 0.0], [0.95, 0.05, 0.0, 0.0], [0.7, 0.3, 0.0, 0.0]]
    early, late = (started.head_gain(layer_rows(layer, weights)) for layer in (0, 1))
    assert early is not None
    assert late is not None
    assert early.tolist() == [[[2.0, 1.0, 1.0]]]
    assert late.tolist() == [[[1.0, 3.0, 1.0]]]
    report = started.report()
    assert report["perception_heads_per_layer"] == {"0": 1}
    assert report["reasoning_heads_per_layer"] == {"1": 1}


def test_a_row_whose_window_hides_the_image_is_left_alone() -> None:
    started = session(HeadRescaling(l_reas=0, tau_reas=0.2, tau_perc=0.5), 1)
    hidden = layer_rows(0, [[0.0, 0.0, 0.0, 1.0]] * 3, visible_keys=torch.tensor([[[False, False, False, True]]]))
    gain = started.head_gain(hidden)
    assert gain is not None
    assert gain.tolist() == [[[1.0, 1.0, 1.0]]]


def test_a_sample_without_an_image_is_left_alone_in_a_batch() -> None:
    case = tiny_models.llava(2)
    text = case.inputs["input_ids"][1].clone()
    text[text == tiny_models.IMAGE] = 7
    mixed = {**case.inputs, "input_ids": torch.stack([case.inputs["input_ids"][0], text])}
    mixed["pixel_values"] = case.inputs["pixel_values"][:1]
    options = OPTIONS | {"return_dict_in_generate": True, "output_logits": True}
    plain = case.model.generate(**mixed, **options).logits
    with intervene(case.model, HeadRescaling(**RULE)):
        edited = case.model.generate(**mixed, **options).logits
    assert torch.equal(plain[0][1], edited[0][1])
    assert not torch.equal(plain[0][0], edited[0][0])


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_the_papers_row(name: str) -> None:
    intervention = HeadRescaling.preset(name, freeze="prompt")
    l_reas, tau_reas, g_reas, l_perc, tau_perc, g_perc = TABLE[name]
    assert (intervention.l_reas, intervention.tau_reas, intervention.g_reas) == (l_reas, tau_reas, g_reas)
    assert (intervention.l_perc, intervention.tau_perc, intervention.g_perc) == (l_perc, tau_perc, g_perc)
    assert intervention.freeze == "prompt"


@pytest.mark.parametrize("step", [0, "mean"])
def test_thresholds_from_a_trace_select_the_share(step: Any) -> None:
    case = tiny_models.llava(layers=8)
    plain = from_inputs(case.model, case.inputs, **OPTIONS)
    assert isinstance(plain, Trace)
    intervention = HeadRescaling.from_trace(plain, share=0.25, step=step, g_perc=1.5)
    ratio = plain.rows().image_mass
    chosen = ratio.mean(0) if step == "mean" else ratio[0]
    layers = torch.arange(8)[:, None]
    perception = (layers <= intervention.l_perc) & (chosen >= intervention.tau_perc)
    reasoning = (layers >= intervention.l_reas) & (chosen <= intervention.tau_reas)
    assert int(perception.sum()) == int(reasoning.sum()) == round(0.25 * 48 / 2)
    assert intervention.g_perc == 1.5
    edited = traced(case, intervention, max_new_tokens=1)
    assert edited.effects[0]["perception_share"] > 0


@pytest.mark.parametrize("freeze", [None, "prompt"])
def test_without_a_step_the_share_holds_in_the_rows_that_it_acts_on(freeze: Any) -> None:
    case = tiny_models.llava(layers=8)
    plain = from_inputs(case.model, case.inputs, **OPTIONS)
    intervention = HeadRescaling.from_trace(plain, share=0.25, freeze=freeze, g_perc=1.0, g_reas=1.0 + 1e-6)
    with intervene(case.model, intervention) as handle:  # gains too small to change what later layers see
        case.model.generate(**case.inputs, **OPTIONS)
    report = handle.report()[0]
    assert report["perception_share"] == pytest.approx(0.125)
    assert report["reasoning_share"] == pytest.approx(0.125)


def test_a_layer_past_the_image_has_neither_kind_in_signal_and_intervention() -> None:
    case = VARIANTS["gemma3_deep"]()
    options = OPTIONS | {"max_new_tokens": 12}  # long enough for windows of 12 keys to lose the image
    plain = from_inputs(case.model, case.inputs, **options)
    parameters: dict[str, Any] = {"l_perc": 5, "tau_perc": 0.5, "l_reas": 0, "tau_reas": 0.45}
    last = functional_heads(plain, rule=HeadRule(**parameters), step=-1)
    blind = [1, 3, 5]
    assert not plain.rows().sees_image[-1, blind].any()
    assert (last.sel(layer=blind) == "other").all()
    assert (last == "reasoning").any()
    with intervene(case.model, HeadRescaling(**parameters, g_perc=1.0, g_reas=1.0 + 1e-6)) as handle:
        case.model.generate(**case.inputs, **options)
    counts = handle.report()[0]["reasoning_heads_per_layer"]
    every = [functional_heads(plain, rule=HeadRule(**parameters), step=step) for step in range(12)]
    assert counts == {
        str(layer): count
        for layer in range(6)
        if (count := sum(int((one.sel(layer=layer) == "reasoning").sum()) for one in every))
    }


def test_depths_count_the_layers_that_have_attention() -> None:
    case = OTHERS["qwen3_5"]()  # attention in layers 1 and 3 of 4
    with intervene(case.model, HeadRescaling(tau_perc=0.02, l_reas=0.5)) as handle:
        case.model.generate(**case.inputs, **OPTIONS)
    assert set(handle.report()[0]["perception_heads_per_layer"]) == {"1"}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("step", [99, True, "first", 1.0])
def test_a_step_that_the_trace_lacks_is_refused(step: Any) -> None:
    with pytest.raises(ModelInputError, match="step="):
        HeadRescaling.from_trace(planted_trace(), step=step)


def test_depths_are_layers_of_any_model() -> None:
    intervention = HeadRescaling()
    for layers, expected in ((28, (7, 3)), (8, (1, 1)), (1, (0, 0))):
        started: Any = session(intervention, layers)
        assert (started._rule.l_perc, started._rule.l_reas) == expected


def test_a_rule_that_no_head_meets_says_so() -> None:
    case = tiny_models.llava()
    intervention = HeadRescaling(tau_perc=0.999, tau_reas=0.0)
    told = pytest.warns(
        UserWarning, match=r"HeadRescaling changed nothing in 4 forwards: no head up to layer 0 put 0\.999"
    )
    with told as caught, intervene(case.model, intervention) as handle:
        case.model.generate(**case.inputs, **OPTIONS)
    assert len(caught) == 1
    assert not handle.report()[0]["changed"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused_before_anything_runs() -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"tau_reas": 0.3, "tau_perc": 0.3}, r"tau_reas=0\.3, tau_perc=0\.3; expected: 0 <= tau_reas < tau_perc <= 1"),
        ({"tau_reas": -0.1}, r"tau_reas=-0\.1"),
        ({"tau_perc": 1.5}, r"tau_perc=1\.5"),
        ({"g_perc": -1.0}, r"g_perc=-1\.0"),
        ({"g_reas": float("nan")}, "g_reas=nan"),
        ({"l_perc": 1.5}, r"l_perc=1\.5; expected: a layer number from 0 or a depth"),
        ({"l_reas": -1}, "l_reas=-1"),
        ({"freeze": "always"}, "freeze='always'"),
        ({"rows": "first"}, "rows='first'"),
    ]
    for parameters, told in refused:
        with pytest.raises(ModelInputError, match=told):
            HeadRescaling(**parameters)
    with pytest.raises(ModelInputError, match="preset 'GPT'; expected: Kimi-VL-A3B-Thinking"):
        HeadRescaling.preset("GPT")


def test_a_layer_outside_the_model_is_refused_when_it_is_switched_on() -> None:
    case = tiny_models.llava()
    before = tiny_models.footprint(case.model)
    for intervention in (HeadRescaling(l_perc=3), HeadRescaling.preset("Ocean-R1-7B")):
        with pytest.raises(ModelInputError, match=r"in a model of 3 layers; expected: layers 0 to 2"):
            attach(case.model, intervention)
    assert tiny_models.footprint(case.model) == before


def test_a_trace_without_an_image_has_no_thresholds() -> None:
    case = tiny_models.llava()
    text = {"input_ids": torch.randint(5, 190, (1, 8)), "attention_mask": torch.ones(1, 8, dtype=torch.int64)}
    plain = from_inputs(case.model, text, **OPTIONS)
    assert isinstance(plain, Trace)
    with pytest.raises(ModelInputError, match="a trace without an image"):
        HeadRescaling.from_trace(plain)


@pytest.mark.parametrize("gains", [{"g_perc": 1.0, "g_reas": 0.4}, {"g_perc": 1.5, "g_reas": 1.0}])
def test_one_gain_of_one_leaves_the_other_at_work(gains: dict[str, float]) -> None:
    case = tiny_models.llava()
    with intervene(case.model, HeadRescaling(**(RULE | gains))) as handle:
        case.model.generate(**case.inputs, **OPTIONS)
    report = handle.report()[0]
    assert report["changed"]
    assert report["scaled_heads"] > 0


def test_gains_of_one_read_no_rows() -> None:
    assert session(HeadRescaling(**(RULE | {"g_perc": 1.0, "g_reas": 1.0})), 2).row_layers == frozenset()
