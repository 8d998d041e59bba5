"""Second sequences after equal prompts are one: of one intervention, of several, and of a replay."""

from typing import Any

import pytest
import torch

from lvlmscope.interventions import M3ID, PAI, VCD
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.prompt_inputs import PromptInputs
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

STEPS = 4
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}
WITHOUT_IMAGE = (M3ID(threshold=1.0), PAI(gamma=1.2))


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


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "num_return_sequences": 2}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
def test_two_methods_that_leave_the_image_out_share_a_sequence(
    family: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = FAMILIES[family](2)
    shared, few = generated(case, *WITHOUT_IMAGE, **options)
    with monkeypatch.context() as patched:
        patched.setattr(PromptInputs, "same_as", lambda *_: False)
        apart, many = generated(case, *WITHOUT_IMAGE, **options)
    assert (few, many) == (2 * STEPS, 3 * STEPS)
    assert torch.equal(shared.sequences, apart.sequences)
    for one, other in zip(shared.scores, apart.scores, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_replay_shares_them_too() -> None:
    case, forwards = FAMILIES["llava"](1), []
    traced = from_inputs(case.model, case.inputs, interventions=WITHOUT_IMAGE, **OPTIONS)
    assert traced.provenance["replay"]["difference"] < 1e-3
    counted = case.model.register_forward_hook(lambda *_: forwards.append(1))
    from_inputs(case.model, case.inputs, interventions=WITHOUT_IMAGE, **OPTIONS)
    both = len(forwards)
    from_inputs(case.model, case.inputs, interventions=WITHOUT_IMAGE[:1], **OPTIONS)
    counted.remove()
    assert both == len(forwards) - both


def test_other_images_are_other_sequences() -> None:
    case = FAMILIES["llava"](1)
    assert generated(case, VCD(seed=0), VCD(seed=1))[1] == 3 * STEPS
    assert generated(case, VCD(seed=0), M3ID(threshold=1.0))[1] == 3 * STEPS


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
