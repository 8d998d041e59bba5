"""Each sample of a batch has in every field what it has alone; kept keys are the image's and the answer's."""

from dataclasses import fields
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.tiny import scene
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}


def require_alike(one: Trace, other: Trace, *, left_out: tuple[str, ...] = ("provenance",)) -> None:
    """Every field of two traces, numbers up to the rounding of a padded batch."""
    for name in (each.name for each in fields(Trace) if each.name not in left_out):
        found, expected = getattr(one, name), getattr(other, name)
        if isinstance(expected, torch.Tensor):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4, msg=lambda told, n=name: f"{n}: {told}")
        elif name == "images":
            assert [image.tobytes() for image in found] == [image.tobytes() for image in expected]
        else:
            assert found == expected, name


@pytest.mark.parametrize(("name", "keep"), [("qwen2_5_vl_two_images", "all"), ("mllama", "image_answer")])
def test_every_field_of_a_padded_batch_is_that_of_the_sample_alone(name: str, keep: str) -> None:
    case = FAMILIES[name](2)
    wanted: dict[str, Any] = {"gradients": True, "hidden_states": True, "keep": keep} | OPTIONS
    batch = lv.trace_inputs(case.model, case.inputs, **wanted)
    assert not torch.equal(batch[0].margin, batch[1].margin)
    for traced, sample in zip(batch, case.samples, strict=True):
        require_alike(traced, from_inputs(case.model, sample, **wanted))


def test_images_prompts_and_mixed_distributions_of_a_batch_are_each_samples_own() -> None:
    model = lv.load("tiny", check=False)
    pairs = [(scene("prior", 8).image, "Describe the image."), (scene("neutral", 3).image, "Is there a cat?")]
    options: dict[str, Any] = {"max_new_tokens": 2, "progress": False, "interventions": [lv.ICD()]}
    batch = list(lv.trace_many(model, pairs, batch_size=2, **options))
    assert batch[0].mixed_log_probs is not None
    assert not torch.equal(batch[0].mixed_top_ids, batch[1].mixed_top_ids)
    for traced, (image, prompt) in zip(batch, pairs, strict=True):
        alone = lv.trace(model, image, prompt, **options)
        require_alike(traced, alone, left_out=("provenance", "effects"))  # effects speak of the batch
        for part in ("images", "prompt_length", "prompt_text"):
            assert traced.provenance[part] == alone.provenance[part]


def test_keys_outside_the_sequence_are_kept_before_those_of_the_answer() -> None:
    """Mllama's image keys stand before the text's positions, which count from 0 again."""
    case = FAMILIES["mllama"](2)
    whole, lean = (lv.trace_inputs(case.model, case.inputs, keep=keep, **OPTIONS) for keep in ("all", "image_answer"))
    for full, part in zip(whole, lean, strict=True):
        kept = [n for n, kind in enumerate(full.layout.kinds) if kind in ("image", "answer")]
        assert 0 < len(kept) < len(full.tokens)
        assert part.layout == full.layout.select(kept)
        assert part.tokens == tuple(full.tokens[n] for n in kept)
        assert torch.equal(part.attention, full.attention[..., kept])
        assert part.layout.kinds.count("answer") == OPTIONS["max_new_tokens"] - 1


def test_what_stands_before_the_first_image_is_the_systems_and_what_follows_the_questions() -> None:
    case = FAMILIES["qwen2_5_vl_two_images"](1)
    traced = from_inputs(case.model, case.samples[0], **OPTIONS)
    shown = case.samples[0]["input_ids"][0] == tiny_models.IMAGE
    first, last = int(shown.nonzero()[0]), int(shown.nonzero()[-1])
    kinds = traced.layout.kinds
    assert set(kinds[:first]) == {"system"}
    assert [kind == "image" for kind in kinds[: len(shown)]] == shown.tolist()
    assert set(kinds[first : last + 1]) == {"image", "question"}  # words between two images
    assert set(kinds[last + 1 : len(shown)]) == {"question"}
    assert set(kinds[len(shown) :]) == {"answer"}
    own = [traced.layout.keys_of_image(number) for number in (0, 1)]
    assert not (own[0] & own[1]).any()
    assert torch.equal(own[0] | own[1], traced.image_keys)
    assert [layout.grid for layout in traced.layout.images] == [(4, 6), (2, 4)]
