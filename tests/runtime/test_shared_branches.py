"""Second sequences after equal prompts are one, and those that fit run in one batch: in generate and in a replay."""

from typing import Any

import pytest
import torch

from lvlmscope.interventions import AGLA, ICD, M3ID, PAI, VCD
from lvlmscope.runtime import branch_set
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.branch_set import BranchGroup, grouped_branches
from lvlmscope.runtime.prompt_inputs import PromptInputs
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

STEPS = 4
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}
WITHOUT_IMAGE = (M3ID(threshold=1.0), PAI(gamma=1.2))
WITH_IMAGE = (VCD(), ICD(disturbance=(3, 4, 5)))


def generated(case: Any, *stack: Any, **options: Any) -> tuple[Any, int]:
    """The answer with its logits, and how many forwards it took."""
    core, forwards = case.model, []
    handle = core.register_forward_hook(lambda *_: forwards.append(1))
    torch.manual_seed(0)
    with intervene(case.model, *stack):
        made = case.model.generate(
            **case.inputs, **(OPTIONS | options), return_dict_in_generate=True, output_scores=True
        )
    handle.remove()
    return made, len(forwards)


def each_by_itself(named: dict[Any, Any], *, pads: bool) -> list[BranchGroup[Any]]:  # noqa: ARG001
    return [BranchGroup(prompts=[other], places={key: 0}) for key, other in named.items()]


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "num_return_sequences": 2}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("stack", [WITHOUT_IMAGE, WITH_IMAGE], ids=["equal prompts", "prompts of other lengths"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
def test_two_methods_share_the_forward_of_a_step(
    family: str, stack: tuple[Any, ...], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = FAMILIES[family](2)
    shared, few = generated(case, *stack, **options)
    monkeypatch.setattr(branch_set, "grouped_branches", each_by_itself)
    apart, many = generated(case, *stack, **options)
    assert (few, many) == (2 * STEPS, 3 * STEPS)
    assert torch.equal(shared.sequences, apart.sequences)
    for one, other in zip(shared.scores, apart.scores, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stack", [WITHOUT_IMAGE, WITH_IMAGE], ids=["equal prompts", "prompts of other lengths"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
def test_a_replay_shares_them_too(family: str, stack: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    case, forwards = FAMILIES[family](1), []
    counted = case.model.register_forward_hook(lambda *_: forwards.append(1))
    shared = from_inputs(case.model, case.inputs, interventions=stack, **OPTIONS)
    both = len(forwards)
    from_inputs(case.model, case.inputs, interventions=stack[:1], **OPTIONS)
    counted.remove()
    assert both == len(forwards) - both
    assert shared.provenance["replay"]["difference"] < 1e-3
    monkeypatch.setattr(branch_set, "grouped_branches", each_by_itself)
    apart = from_inputs(case.model, case.inputs, interventions=stack, **OPTIONS)
    torch.testing.assert_close(shared.mixed_log_probs, apart.mixed_log_probs, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.* changed nothing in:UserWarning")
def test_what_does_not_fit_runs_by_itself() -> None:
    case = FAMILIES["llava"](1)
    assert generated(case, VCD(seed=0), VCD(seed=1))[1] == 2 * STEPS
    assert generated(case, VCD(seed=0), M3ID(threshold=1.0))[1] == 3 * STEPS  # one has no pixels
    assert generated(case, VCD(seed=0), AGLA())[1] == 3 * STEPS  # a prompt that is made when it is asked for


def prompt(ids: list[int], **more: Any) -> PromptInputs:
    rows = torch.tensor([ids])
    inputs = {"input_ids": rows, "attention_mask": torch.ones_like(rows)} | more
    return PromptInputs(inputs=inputs, image_keys=rows == 7)


def test_prompts_in_one_batch_are_padded_on_the_left() -> None:
    image, other = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    short, long = prompt([7, 5], pixel_values=image), prompt([7, 4, 6], pixel_values=other)
    (group,) = grouped_branches({"a": short, "b": long, "c": prompt([7, 5], pixel_values=image)}, pads=True)
    assert group.places == {"a": 0, "b": 1, "c": 0}
    found = group.inputs(pads=True)
    assert found is not None
    assert found["input_ids"].tolist() == [[5, 7, 5], [7, 4, 6]]
    assert found["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert torch.equal(found["pixel_values"], torch.cat([image, other]))


@pytest.mark.parametrize(
    ("other", "pads"),
    [
        (prompt([7, 4, 6], pixel_values=torch.rand(1, 3, 4, 4)), False),
        (prompt([7, 4, 6]), True),
        (prompt([7, 4, 6], pixel_values=torch.rand(1, 3, 4, 5)), True),
        (prompt([7, 4, 6], pixel_values=torch.rand(1, 3, 4, 4).double()), True),
        (prompt([7, 5], pixel_values=torch.rand(1, 3, 4, 4), label="b"), True),
        (prompt([7, 5], pixel_values=torch.rand(1, 3, 4, 4)).with_edits(), True),
        (prompt([7, 5], pixel_values=torch.rand(1, 3, 4, 4)).with_interventions(M3ID()), True),
        (lambda: prompt([7, 5], pixel_values=torch.rand(1, 3, 4, 4)), True),
    ],
    ids=["padding moves", "no image", "another size", "another dtype", "a word", "edits", "interventions", "later"],
)
def test_prompts_that_are_two_batches(other: Any, pads: bool) -> None:
    one = prompt([7, 5], pixel_values=torch.rand(1, 3, 4, 4))
    one = prompt([7, 5], **dict(one.inputs) | {"label": "a"}) if getattr(other, "inputs", {}).get("label") else one
    assert [list(group.places) for group in grouped_branches({"a": one, "b": other}, pads=pads)] == [["a"], ["b"]]
    assert [list(group.places) for group in grouped_branches({"b": other, "a": one}, pads=pads)] == [["b"], ["a"]]


def test_the_same_prompt_under_the_same_interventions_is_one_sequence() -> None:
    one, acting = prompt([7, 5]), M3ID()
    named = {"a": one.with_interventions(acting), "b": one, "c": one.with_interventions(acting)}
    assert [group.places for group in grouped_branches(named, pads=True)] == [{"a": 0, "c": 0}, {"b": 0}]
    assert len(grouped_branches({"a": one.with_edits(), "b": one.with_edits()}, pads=True)) == 2  # each of the others


def test_what_makes_two_sequences_one() -> None:
    ids, pixels = torch.tensor([[4, 5]]), torch.rand(1, 3, 4, 4)
    inputs = {"input_ids": ids, "pixel_values": pixels, "label": "a", "other": [1]}
    prompt = PromptInputs(inputs=inputs, image_keys=torch.zeros(1, 2, dtype=torch.bool))
    acting: Any = M3ID()

    def changed(**values: Any) -> PromptInputs:
        return PromptInputs(inputs=inputs | values, image_keys=prompt.image_keys)

    assert prompt.same_as(changed(pixel_values=pixels.clone(), input_ids=ids.clone()))
    assert not prompt.same_as(changed(pixel_values=pixels + 1e-6))
    assert not prompt.same_as(changed(pixel_values=pixels.double()))
    assert not prompt.same_as(changed(pixel_values=pixels[..., :2]))
    assert not prompt.same_as(changed(label="b"))
    assert not prompt.same_as(changed(other=[1]))  # what cannot be compared is not taken for equal
    assert not prompt.same_as(changed(more=ids))
    assert not prompt.same_as(prompt.with_edits())
    assert not prompt.same_as(prompt.with_interventions(acting))
    assert prompt.with_interventions(acting).same_as(prompt.with_interventions(acting))
    assert not prompt.with_interventions(acting).same_as(prompt.with_interventions(M3ID()))
