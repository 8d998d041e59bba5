"""Settings are those that generate resolves, and each sample of a batch ends where it ends alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, StoppingCriteria

import lvlmscope as lv
from lvlmscope.errors import UnsupportedOptionError
from lvlmscope.tiny.composed_scenes import scenes
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

STEPS = 8
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
PLAIN: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False}


@pytest.mark.parametrize("name", ["gemma3", "paligemma", "aya_vision"])
def test_a_saved_hybrid_cache_is_unset_as_generate_unsets_it(name: str, tmp_path: Path) -> None:
    case = FAMILIES[name]()
    expected = from_inputs(case.model, case.inputs, **OPTIONS)
    case.model.save_pretrained(tmp_path)
    written = GenerationConfig.from_pretrained(tmp_path)
    written.cache_implementation = "hybrid"
    written.save_pretrained(tmp_path)
    model = type(case.model).from_pretrained(tmp_path).eval()
    assert model.generation_config.cache_implementation == "hybrid"
    found = from_inputs(model, case.inputs, **OPTIONS)
    assert isinstance(found, Trace)
    assert found.answer_ids.tolist() == expected.answer_ids.tolist()
    assert lv.check(model, inputs=case.inputs).passed
    assert lv.estimate(model, inputs=case.inputs, max_new_tokens=STEPS).steps == STEPS
    given = from_inputs(model, case.inputs, **OPTIONS, cache_implementation="dynamic")
    assert given.answer_ids.tolist() == expected.answer_ids.tolist()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_return_sequences", 2),
        ("guidance_scale", 1.5),
        ("prompt_lookup_num_tokens", 3),
        ("cache_implementation", "static"),
        ("token_healing", True),
        ("prefill_chunk_size", 4),
        ("use_cache", False),
    ],
)
def test_a_models_own_setting_is_refused_by_name_and_both_ways_out_work(name: str, value: Any) -> None:
    case = tiny_models.llava()
    expected = from_inputs(case.model, case.inputs, **OPTIONS)
    case.model.generation_config.do_sample = True  # greedy answers come one by one in any case
    setattr(case.model.generation_config, name, value)
    with pytest.raises(
        UnsupportedOptionError, match=rf"got {name}=.*; pass {name}=(\w+) over the model's own"
    ) as raised:
        from_inputs(case.model, case.inputs, **OPTIONS)
    plain = {"None": None, "1": 1, "True": True, "False": False}[str(raised.value).split(f"pass {name}=")[1].split()[0]]
    found = from_inputs(case.model, case.inputs, **OPTIONS, **{name: plain})
    assert found.answer_ids.tolist() == expected.answer_ids.tolist()
    forced = from_inputs(case.model, case.inputs, answer=expected.answer_ids.tolist())
    torch.testing.assert_close(forced.attention, expected.attention, atol=1e-5, rtol=1e-4)
    assert lv.check(case.model, inputs=case.inputs).passed


@pytest.mark.parametrize("name", ["num_return_sequences", "guidance_scale"])
@pytest.mark.parametrize("as_config", [True, False])
def test_a_given_setting_is_refused_before_anything_runs(name: str, as_config: bool) -> None:
    case = tiny_models.llava()
    ran: list[int] = []
    case.model.register_forward_pre_hook(lambda *_: ran.append(1))
    options: dict[str, Any] = {name: 2}
    if as_config:
        options = {"generation_config": GenerationConfig(max_new_tokens=3, pad_token_id=0, do_sample=True, **options)}
    with pytest.raises(UnsupportedOptionError, match=rf"got {name}=2; .*leave {name} out"):
        from_inputs(case.model, case.inputs, **options)
    assert not ran


def test_provenance_names_the_settings_in_force() -> None:
    case = tiny_models.llava()
    case.model.generation_config.do_sample = True
    case.model.generation_config.temperature = 0.7
    own = from_inputs(case.model, case.inputs, max_new_tokens=3).provenance["generation"]
    assert (own["do_sample"], own["temperature"], own["top_p"]) == (True, 0.7, 1.0)
    config = GenerationConfig(max_new_tokens=3, do_sample=False, repetition_penalty=1.2, min_new_tokens=2)
    given = from_inputs(case.model, case.inputs, generation_config=config).provenance["generation"]
    assert (given["do_sample"], given["max_new_tokens"], given["repetition_penalty"]) == (False, 3, 1.2)
    assert (given["min_new_tokens"], given["temperature"], given["eos_token_id"]) == (2, 0.7, tiny_models.EOS)


class AfterToken(StoppingCriteria):
    """Ends a sample after a token, in each sample for itself."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        return input_ids[:, -1] == self.token


def together_and_alone(case: tiny_models.TinyCase, **options: Any) -> tuple[list[Trace], list[Trace]]:
    batch = lv.trace_inputs(case.model, case.inputs, **options)
    alone = [lv.trace_inputs(case.model, case.sample(number), **options)[0] for number in range(len(batch))]
    return batch, alone


@pytest.mark.parametrize("way", ["eos", "eos list", "config", "criterion", "criterion, no eos", "length"])
@pytest.mark.parametrize("pad", [tiny_models.PAD, "end", 7])
def test_every_sample_of_a_batch_ends_where_it_ends_alone(way: str, pad: Any) -> None:
    case = tiny_models.llava(3)
    case.model.generation_config.eos_token_id = None
    free = lv.trace_inputs(case.model, case.inputs, **OPTIONS)
    end = int(free[0].answer_ids[2])
    case.model.generation_config.pad_token_id = end if pad == "end" else pad
    eos = {"eos_token_id": tiny_models.EOS}
    options = (
        OPTIONS
        | {
            "eos": {"eos_token_id": end},
            "eos list": {"eos_token_id": [tiny_models.EOS, end]},
            "config": {},
            "criterion": eos | {"stopping_criteria": [AfterToken(end)]},
            "criterion, no eos": {"stopping_criteria": [AfterToken(end)]},
            "length": {},
        }[way]
    )
    if way == "config":
        given = {
            **OPTIONS,
            "eos_token_id": [end, tiny_models.EOS],
            "pad_token_id": case.model.generation_config.pad_token_id,
        }
        options = {"generation_config": GenerationConfig(**given)}
    batch, alone = together_and_alone(case, **options)
    assert [one.num_steps for one in batch] == [one.num_steps for one in alone]
    assert batch[0].num_steps == (STEPS if way == "length" else 3)
    assert max(one.num_steps for one in batch) == STEPS
    for one, own in zip(batch, alone, strict=True):
        assert one.answer_ids.tolist() == own.answer_ids.tolist()
        torch.testing.assert_close(one.attention, own.attention, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.log_probs, own.log_probs, atol=1e-5, rtol=1e-4)


def test_a_pad_token_that_is_written_as_a_word_ends_nothing() -> None:
    case = tiny_models.llava(2)
    free = lv.trace_inputs(case.model, case.inputs, **OPTIONS)
    case.model.generation_config.pad_token_id = int(free[0].answer_ids[1])
    batch, alone = together_and_alone(case, **OPTIONS)
    assert [one.answer_ids.tolist() for one in batch] == [one.answer_ids.tolist() for one in alone]
    assert [one.answer_ids.tolist() for one in batch] == [one.answer_ids.tolist() for one in free]


def test_a_time_limit_is_for_one_sample() -> None:
    case = tiny_models.llava(2)
    with pytest.raises(UnsupportedOptionError, match=r"got max_time=60.0 for 2 samples; .*one sample at a time"):
        lv.trace_inputs(case.model, case.inputs, **OPTIONS, max_time=60.0)
    assert lv.trace_inputs(case.model, case.sample(0), **OPTIONS, max_time=60.0)[0].num_steps == STEPS
    (at_once,) = lv.trace_inputs(case.model, case.sample(0), **OPTIONS, max_time=-1.0)
    assert at_once.num_steps == 1


def test_answers_of_a_sweep_stop_at_their_stop_string() -> None:
    model = lv.load("tiny")
    images = [one.image for one in scenes("neutral", n=4, seed=3)]
    options: dict[str, Any] = {
        "prompt": "Describe the image.",
        "max_new_tokens": 24,
        "do_sample": False,
        "progress": False,
    }
    options |= {"stop_strings": [" and"], "tokenizer": model.processor.tokenizer}
    batch = list(lv.trace_many(model, images, batch_size=4, **options))
    alone = list(lv.trace_many(model, images, batch_size=1, **options))
    for one, own in zip(batch, alone, strict=True):
        assert isinstance(one, Trace)
        assert isinstance(own, Trace)
        assert one.answer == own.answer
        assert one.num_steps == own.num_steps
    assert len({one.num_steps for one in alone if isinstance(one, Trace)}) > 1
