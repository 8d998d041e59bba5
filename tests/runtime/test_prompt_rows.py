"""Edits of a prompt's rows before its last one: against full forwards by hand, in parts, in batches and replays."""

from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import UnsupportedOptionError
from lvlmscope.models.families import family_of
from lvlmscope.runtime import prompt_rows
from lvlmscope.runtime.attachment import intervene
from tests.support import tiny_models
from tests.support.edited_attention import editing_weights
from tests.support.scripted_sessions import Scripted
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs
from tests.support.uncached import Inputs, logits_of

STEPS, LAYER = 4, 1
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}
NAMED = ["llava", "qwen2_5_vl", "gemma3", "smolvlm"]


def towards_image(weights: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Image keys get four times their weight."""
    raised = torch.where(image, weights * 4, weights)
    return raised / raised.sum(-1, keepdim=True)


def edit(rows: AttentionRows, positions: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG001
    return towards_image(rows.weights, rows.image_keys.unsqueeze(-2)) if rows.layer == LAYER else None


def every_row(rows: AttentionRows) -> torch.Tensor | None:
    return edit(rows, torch.zeros(0))


PROMPT: dict[str, Any] = {"edit_prompt_attention": edit}
EVERY: dict[str, Any] = PROMPT | {"edit_attention": every_row}


def twin(case: Any, inputs: Inputs, answer: torch.Tensor, *, last: bool) -> torch.Tensor:
    """Logits of each step by full forwards, with the rows before the prompt's last one edited, or all rows."""
    ids = inputs["input_ids"]
    image = family_of(case.model).image_mask(case.model, ids)[0]

    def raised(layer: int, weights: torch.Tensor) -> torch.Tensor:
        end = weights.shape[2] if last else ids.shape[1] - 1
        keys = torch.nn.functional.pad(image, (0, weights.shape[3] - len(image)))
        new = towards_image(weights[:, :, :end], keys)
        return torch.cat([new, weights[:, :, end:]], 2) if layer == LAYER else weights

    with editing_weights(case.model, raised):
        return torch.tensor(logits_of(case.model, inputs, answer))


@pytest.mark.parametrize("options", [{}, {"do_sample": True}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("hooks", [PROMPT, EVERY], ids=["prompt", "every row"])
@pytest.mark.parametrize("family", NAMED)
def test_each_step_is_that_of_a_full_forward(
    family: str, hooks: dict[str, Any], batch: int, options: dict[str, Any]
) -> None:
    case = FAMILIES[family](batch)
    torch.manual_seed(0)
    with intervene(case.model, Scripted(**hooks)) as handle:
        made = case.model.generate(
            **case.inputs, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True
        )
    (report,) = handle.report()
    heads = family_of(case.model).text_config(case.model).num_attention_heads
    assert 0 < report["edited_prompt_heads"] <= sum(one["input_ids"].shape[1] - 1 for one in case.samples) * heads
    assert report["changed"]
    found = torch.stack(made.logits, 1)
    for index, inputs in enumerate(case.samples):
        expected = twin(case, inputs, made.sequences[index, -STEPS:], last=hooks is EVERY)
        torch.testing.assert_close(found[index].double(), expected.double(), atol=1e-4, rtol=1e-4)


def generate(case: Any, **options: Any) -> Any:
    return case.model.generate(**case.inputs, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True)


@pytest.mark.parametrize("family", NAMED)
def test_rows_come_in_parts_that_hold_few_weights(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES[family](2)
    with intervene(case.model, Scripted(**PROMPT)):
        whole = generate(case).logits
    rows, length = case.inputs["input_ids"].shape
    heads = family_of(case.model).text_config(case.model).num_attention_heads
    seen: list[tuple[int, ...]] = []
    places: list[int] = []

    def noted(rows: AttentionRows, positions: torch.Tensor) -> torch.Tensor | None:
        seen.append(tuple(rows.weights.shape))
        places.extend(positions.tolist() if rows.layer == LAYER else [])
        return edit(rows, positions)

    monkeypatch.setattr(prompt_rows, "_WEIGHTS", 5 * rows * heads * length)
    with intervene(case.model, Scripted(edit_prompt_attention=noted)):
        parts = generate(case).logits
    assert places == list(range(length - 1))
    assert max(shape[1] for shape in seen) == 5
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("family", [*NAMED, "paligemma"])
def test_a_replay_repeats_it_and_a_given_answer_is_edited_too(family: str, gradients: bool) -> None:
    case = FAMILIES[family](1)
    ask: dict[str, Any] = {"interventions": [Scripted(**EVERY)], "gradients": gradients}
    plain = from_inputs(case.model, case.inputs, **OPTIONS)
    made = from_inputs(case.model, case.inputs, **ask, **OPTIONS)
    assert made.provenance["replay"]["difference"] < 1e-4
    assert not torch.allclose(made.log_probs[0], plain.log_probs[0], atol=1e-4)
    given = from_inputs(case.model, case.inputs, answer=made.answer_ids.tolist(), **ask)
    torch.testing.assert_close(given.log_probs, made.log_probs, atol=1e-4, rtol=1e-4)
    assert given.effects[0]["edited_prompt_heads"] == made.effects[0]["edited_prompt_heads"] > 0
    assert "heads in rows of the prompt" in str(lv.effect(plain, made))


def test_layers_that_are_left_out_are_not_read() -> None:
    case, layers = FAMILIES["llava"](1), []

    def noted(rows: AttentionRows, _: torch.Tensor) -> None:
        layers.append(rows.layer)

    named: dict[str, Any] = {"row_layers": frozenset({2}), "edit_prompt_attention": noted}
    with intervene(case.model, Scripted(**named)):
        generate(case, max_new_tokens=1)
    assert layers == [2]


def test_a_prompt_in_several_forwards_is_refused() -> None:
    case = FAMILIES["llava"](1)
    match = "edit a prompt's rows with Scripted: got prefill_chunk_size=4; expected: a prompt in one forward"
    with pytest.raises(UnsupportedOptionError, match=match), intervene(case.model, Scripted(**PROMPT)):
        generate(case, prefill_chunk_size=4)
    ids = case.inputs["input_ids"]
    part = case.inputs | {"input_ids": ids[:, :-2], "attention_mask": torch.ones_like(ids[:, :-2])}
    with intervene(case.model, Scripted(**PROMPT)) as handle:
        handle._instrumentation.tracker.set_sequence(ids, ids.shape[1])
        with pytest.raises(UnsupportedOptionError, match="got a part of a prompt without its last row"):
            case.model(**part)
        generate(case)
