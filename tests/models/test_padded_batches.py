"""Models that give a padded sample other logits than alone: refused by name, or run one by one."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import ModelInputError
from lvlmscope.evaluation.captioning import timed_answers
from lvlmscope.models.families import DefaultFamily
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.models.padded_batches import padding_mask, padding_reason
from lvlmscope.tiny import scene
from lvlmscope.training import train_cell
from lvlmscope.verification.check_cache import check_once
from tests.support import small_training, tiny_models
from tests.support.verify_models import CASES, OPTIONS

REASON = "minimax_m3_sparse layers choose blocks of keys that begin at places of the batch"
IMAGE = scene("prior", 0).image


def next_logits(model: Any, inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.generate(
            **inputs, **OPTIONS | {"max_new_tokens": 1}, return_dict_in_generate=True, output_logits=True
        ).logits[0]


def test_transformers_gives_a_padded_sample_other_logits() -> None:
    """Where this fails the fault is mended, and the reason can go."""
    case = CASES["minimax_m3_vl"](2)
    together = next_logits(case.model, case.inputs)
    gaps = [float((together[n] - next_logits(case.model, one)[0]).abs().max()) for n, one in enumerate(case.samples)]
    padded = (case.inputs["attention_mask"] == 0).any(1).tolist()
    assert [gap > 1e-2 for gap in gaps] == padded == [False, True]


@pytest.mark.parametrize("gradients", [False, True])
def test_a_padded_batch_is_refused_by_name_before_any_module_runs(gradients: bool) -> None:
    case = CASES["minimax_m3_vl"](2)
    ran: list[int] = []
    case.model.register_forward_pre_hook(lambda *_: ran.append(1))
    with pytest.raises(ModelInputError, match=rf"use a padded batch: got .*{REASON}.*one sample at a time"):
        lv.trace_inputs(case.model, case.inputs, gradients=gradients, progress=False, **OPTIONS)
    assert not ran
    for sample in case.samples:
        assert len(lv.trace_inputs(case.model, sample, progress=False, **OPTIONS)) == 1


def test_samples_of_equal_length_are_a_batch() -> None:
    case = CASES["minimax_m3_vl"](1)
    twice = {name: torch.cat([value] * 2) for name, value in case.inputs.items()}
    one, other = lv.trace_inputs(case.model, twice, progress=False, **OPTIONS)
    torch.testing.assert_close(one.attention, other.attention)


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> tuple[LoadedModel, list[int]]:
    """A model whose family knows a reason, and the sizes of its batches."""
    loaded = lv.load((tiny_models.llava().model, tiny_models.processor()), check=False)
    monkeypatch.setattr(type(loaded.family), "padding_reason", lambda *_: "for a reason")
    sizes: list[int] = []
    loaded.model.register_forward_pre_hook(
        lambda _, __, kwargs: sizes.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    return loaded, sizes


def test_examples_are_traced_one_by_one(shifted: tuple[LoadedModel, list[int]]) -> None:
    model, sizes = shifted
    pairs = [(IMAGE, "w7"), (IMAGE, "w7 w8 w9")]
    options: dict[str, Any] = {"max_new_tokens": 3, "progress": False}
    together = list(lv.trace_many(model, pairs, batch_size=2, **options))
    assert set(sizes) == {1}
    for found, (image, prompt) in zip(together, pairs, strict=True):
        assert torch.equal(found.attention, lv.trace(model, image, prompt, **options).attention)


def test_answers_are_generated_one_by_one(shifted: tuple[LoadedModel, list[int]]) -> None:
    model, sizes = shifted
    timed_answers(model.model, model.processor, [(IMAGE, "w7"), (IMAGE, "w7 w8")], max_new_tokens=2, batch_size=2)
    assert set(sizes) == {1}


class Uninformed(DefaultFamily):
    """MiniMax-M3 served by rules that know nothing of its sparse layers."""

    name = "uninformed"

    def padding_reason(self, model: torch.nn.Module) -> str:
        del model
        return ""


def test_check_measures_what_no_family_knows() -> None:
    case = CASES["minimax_m3_vl"](2)
    family = Uninformed()
    assert padding_reason(case.model, family) == ""
    found = lv.check(case.model, inputs=case.samples[0], family=family)
    assert found.passed
    assert "whose logits lvlmscope.check found to differ by" in found.padding_reason
    line = next(line for line in repr(found).splitlines() if "a padded sample" in line)
    assert line.startswith("  differs     a padded sample has its own logits: ")
    assert line.endswith("padded batches are refused: one sample at a time")
    with pytest.raises(ModelInputError, match=r"use a padded batch: got .*lvlmscope\.check found to differ by"):
        lv.trace_inputs(case.model, case.inputs, family=family, progress=False, **OPTIONS)
    assert padding_reason(copy.deepcopy(case.model), family) == ""


@pytest.mark.parametrize(
    "name", ["llava", "qwen2_vl", "gemma3", "mllama", "instructblip", "paligemma", "ernie4_5_vl_moe"]
)
def test_check_finds_nothing_where_padding_changes_nothing(name: str) -> None:
    case = CASES[name](1)
    found = lv.check(case.model, inputs=case.samples[0])
    (finding,) = (each for each in found.findings if each.name == "a padded sample has its own logits")
    assert finding.passed
    assert 0 < float(finding.value) < 1e-4 < float(finding.limit)
    assert found.padding_reason == ""


def test_a_family_that_knows_its_reason_needs_no_measure() -> None:
    case = CASES["minimax_m3_vl"](1)
    found = lv.check(case.model, inputs=case.samples[0])
    assert found.passed
    assert REASON in repr(found)
    assert REASON in found.padding_reason


def test_a_model_that_no_padded_sample_passes_is_checked_without() -> None:
    case = CASES["llava"](1)

    def refuse(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        if (mask := kwargs.get("attention_mask")) is not None and not mask.all():
            raise ValueError("no padding here")

    case.model.register_forward_pre_hook(refuse, with_kwargs=True)
    found = lv.check(case.model, inputs=case.samples[0])
    assert found.passed
    assert "not checked a padded sample has its own logits: a padded sample fails: no padding here" in repr(found)


def test_experts_in_half_precision_are_not_judged_by_their_logits() -> None:
    case = CASES["qwen3_vl_moe"](1)
    case.model.to(torch.bfloat16)
    inputs = {n: v.bfloat16() if v.is_floating_point() else v for n, v in case.samples[0].items()}
    found = lv.check(case.model, inputs=inputs)
    (finding,) = (each for each in found.findings if each.name == "a padded sample has its own logits")
    assert finding.passed is None
    assert "picks experts in bfloat16" in finding.note


def test_a_remembered_check_keeps_what_padding_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVLMSCOPE_CACHE", str(tmp_path))
    first, again, old = (lv.load("tiny", check=False) for _ in range(3))
    monkeypatch.setattr("lvlmscope.verification.padding_check._COLUMNS", 0)  # faster; nothing is padded
    check_once(first, "tiny")
    (record,) = (tmp_path / "checks").iterdir()
    kept = json.loads(record.read_text())
    assert kept["padding_reason"] == ""
    record.write_text(json.dumps(kept | {"padding_reason": "for a reason"}))
    check_once(again, "tiny")
    assert padding_reason(again.model, again.family) == "for a reason"
    for text in ("{", "[]", json.dumps({"check": kept["check"]})):  # of an earlier version, or damaged
        record.write_text(text)
        check_once(old, "tiny")
        assert json.loads(record.read_text()) == kept


@pytest.mark.parametrize("masked", [True, False])
def test_a_users_own_padded_generate_is_refused_under_an_intervention(masked: bool) -> None:
    case = CASES["minimax_m3_vl"](2)
    inputs = {name: value for name, value in case.inputs.items() if masked or name != "attention_mask"}
    ran: list[int] = []
    hook = case.model.register_forward_pre_hook(lambda *_: ran.append(1))
    with (
        pytest.raises(ModelInputError, match=rf"use a padded batch: got .*{REASON}.*one sample at a time"),
        lv.intervene(case.model, lv.DLEAF()),
    ):
        case.model.generate(**inputs, **OPTIONS)
    assert not ran
    hook.remove()
    plain = case.model.generate(**case.inputs, **OPTIONS)  # without one it is transformers' own affair
    assert plain.shape[0] == 2
    with lv.intervene(case.model, lv.DLEAF()):
        for sample in case.samples:
            assert case.model.generate(**sample, **OPTIONS).shape[0] == 1


def test_the_mask_is_that_which_generate_infers() -> None:
    case = CASES["llava"](2)
    settings, ids = case.model.generation_config, case.inputs["input_ids"]
    assert torch.equal(padding_mask(ids, None, settings), case.inputs["attention_mask"])
    settings = copy.deepcopy(settings)
    settings.pad_token_id = settings.eos_token_id
    assert padding_mask(ids, None, settings).all()
    settings.pad_token_id = None
    assert padding_mask(ids, None, settings).all()


def test_a_cell_is_not_trained_in_padded_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_training.loaded()
    monkeypatch.setattr(type(model.family), "padding_reason", lambda *_: "for a reason")
    data, chosen = small_training.records(tmp_path), {"max_steps": 1, "validation": 0.0}
    with pytest.raises(ModelInputError, match=r"train a cell: got batches of 2, which are padded, .*set batch=1"):
        train_cell(model, data, small_training.options(tmp_path / "two", **chosen))
    assert not (tmp_path / "two").exists()
    train_cell(model, data, small_training.options(tmp_path / "one", batch=1, **chosen))
