"""Models that give a padded sample other logits than alone: refused by name, or run one by one."""

from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import ModelInputError
from lvlmscope.evaluation.captioning import timed_answers
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.tiny import scene
from tests.support import tiny_models
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
