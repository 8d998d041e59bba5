"""Activation patching: its twins in float64, families, what must be exactly 0 or 1, and bad input."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lvlmscope as lv
from lvlmscope.errors import ModelInputError, ReplayError
from lvlmscope.tiny import scene
from tests.reference.patching import head_log_probs, llava_stream
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {
    "max_new_tokens": 4,
    "min_new_tokens": 4,
    "suppress_tokens": tiny_models.SUPPRESSED,
    "do_sample": False,
    "progress": False,
}
STEPS = [0, 1, 2, 3]


def other_image(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same prompt with other pixels."""
    torch.manual_seed(7)
    return inputs | {"pixel_values": torch.randn_like(inputs["pixel_values"])}


def nats(found: Any) -> np.ndarray:
    """Log-probability of the words in each patched run."""
    return np.asarray(found * (found.score - found.corrupted_score) + found.corrupted_score)


@pytest.fixture(scope="module")
def small():
    case = tiny_models.llava(1, dtype=torch.float64)
    return case, from_inputs(case.model, case.inputs, **OPTIONS), other_image(case.inputs)


@pytest.fixture(scope="module")
def bundled():
    model, shown = lv.load("tiny", check=False), scene("prior", 0)
    trace = lv.trace(model, shown.image, "Describe the image.", max_new_tokens=12, progress=False)
    return model, trace, scene("prior", 0, without="handbag").image


def test_the_stream_equals_the_loops(small) -> None:
    case, trace, other = small
    at = {"some": [3, 9, 20, 27], "image": "image"}
    found = lv.patch(case.model, trace, other, words=STEPS, at=at, inputs=case.inputs, smallest_gap=1e-9)
    places = {"some": at["some"], "image": trace.image_keys.nonzero().flatten().tolist()}
    for layer in (-1, 0, 2):
        for name, positions in places.items():
            inputs = (case.inputs, other, trace.answer_ids)
            twin = llava_stream(case.model, *inputs, layer=layer, positions=positions)
            np.testing.assert_allclose(nats(found.sel(layer=layer, at=name)), twin, atol=1e-5)


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "smolvlm"])
def test_heads_equal_a_whole_forward_with_hooks(name: str) -> None:
    case = FAMILIES[name](1, dtype=torch.float64)
    trace, other = from_inputs(case.model, case.inputs, **OPTIONS), other_image(case.inputs)
    options: dict[str, Any] = {"words": STEPS, "part": "heads", "inputs": case.inputs, "smallest_gap": 1e-9}
    found = lv.patch(case.model, trace, other, at={"all": "all", "some": [0, 20, 22]}, **options)
    for layer, head in ((0, 0), (1, 3), (2, found.sizes["head"] - 1)):
        for at, positions in (("all", range(len(trace.tokens))), ("some", [0, 20, 22])):
            twin = head_log_probs(
                case.model, case.inputs, other, trace.answer_ids, layer=layer, head=head, positions=positions
            )
            np.testing.assert_allclose(nats(found.sel(layer=layer, head=head, at=at)), twin, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"mllama", "gemma3", "qwen2_5_vl_video"}))
def test_all_of_the_stream_brings_everything_back(name: str) -> None:
    case = FAMILIES[name](1)
    trace, before = from_inputs(case.model, case.inputs, **OPTIONS), tiny_models.footprint(case.model)
    options: dict[str, Any] = {"words": STEPS, "at": ["all", "system"], "inputs": case.inputs, "smallest_gap": 0.01}
    found = lv.patch(case.model, trace, other_image(case.inputs), batch_size=5, **options)
    # Qwen3-VL adds features of the image between the first layers, outside them
    everything = found.sel(at="all")[-1:] if name == "qwen3_vl" else found.sel(at="all")[1:]
    known = found[0, 0].notnull()
    assert bool((abs(everything.where(known, 1.0) - 1.0) < 5e-3).all())
    if name != "paligemma":  # whose first tokens see the image after them
        assert bool((abs(found.sel(at="system").where(known, 0.0)) < 1e-3).all())
    assert bool(known.any())
    assert tiny_models.footprint(case.model) == before


def test_steps_give_what_a_whole_forward_gives(small) -> None:
    case, trace, other = small
    told = trace.provenance | {"replay": trace.provenance["replay"] | {"path": "steps", "reason": "asked for"}}
    stepwise = dataclasses.replace(trace, provenance=told)
    for part in ("stream", "heads"):
        options: dict[str, Any] = {"words": STEPS, "part": part, "at": ["image", "answer"], "inputs": case.inputs}
        block = lv.patch(case.model, trace, other, **options)
        np.testing.assert_allclose(lv.patch(case.model, stepwise, other, **options), block, atol=1e-4)


def test_an_objects_patches_carry_its_word_until_the_answer_has_read_them(bundled) -> None:
    model, trace, other = bundled
    box = scene("prior", 0).boxes[0]
    found = lv.patch(model, trace, other, words=["handbag", "airplane"], at={"box": box, "answer": "answer"})
    assert found.dims == ("layer", "at", "word")
    handbag = found.sel(word="handbag")
    assert float(handbag.sel(layer=-1, at="box")) > 0.8 > 0.3 > float(handbag.sel(layer=3, at="box"))
    assert float(handbag.sel(layer=-1, at="answer")) == pytest.approx(0, abs=1e-4)
    assert float(handbag.sel(layer=7, at="answer")) == pytest.approx(1, abs=1e-4)
    assert bool(found.sel(word="airplane").isnull().all())  # as probable without the handbag
    assert float(found.corrupted_score.sel(word="handbag")) < float(found.score.sel(word="handbag")) - 2


def test_the_same_image_leaves_nothing_to_bring_back(bundled) -> None:
    model, trace, _ = bundled
    assert bool(lv.patch(model, trace, trace.image, words=[0, 4]).isnull().all())


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input(bundled, small) -> None:
    model, trace, other = bundled
    for given, expected in (
        ({"at": ["picture"]}, "at='picture'; expected: 'image', 'question'"),
        ({"at": []}, r"at=positions \[\]; expected: kinds of token, or positions by name"),
        ({"at": {"a": [99]}}, r"at=\[99\]; expected: whole numbers from 0 to 88"),
        ({"part": "mlp"}, "part='mlp'; expected: 'stream', 'heads'"),
        ({"smallest_gap": 0.0}, "smallest_gap=0"),
        ({"words": "cat"}, "'cat'; expected: The, image"),
    ):
        with pytest.raises(ModelInputError, match=expected):
            lv.patch(model, trace, other, **given)
    with pytest.raises(ReplayError, match="differ from the trace's by"):
        lv.patch(model, dataclasses.replace(trace, log_probs=trace.log_probs - 1), other, words=0)
    case, prepared, _ = small
    with pytest.raises(ModelInputError, match="an image to show instead; expected: prepared inputs"):
        lv.patch(case.model, prepared, Image.new("RGB", (32, 32)), inputs=case.inputs)
    longer = {name: torch.cat([value, value[:, -1:]], 1) for name, value in case.inputs.items() if value.dim() == 2}
    with pytest.raises(ModelInputError, match=r"a corrupted prompt of 30 tokens; expected: the trace's 29, the same"):
        lv.patch(case.model, prepared, case.inputs | longer, inputs=case.inputs)
    cut = lv.trace(model, trace.image, "Describe the image.", answer="A", keep="image_answer", progress=False)
    with pytest.raises(ModelInputError, match="kept the keys of image and answer only"):
        lv.patch(model, cut, other)


def test_a_scene_without_an_object_differs_where_it_was() -> None:
    whole = scene("prior", 0)
    without = scene("prior", 0, without="handbag")
    left, top, right, bottom = whole.boxes[0]
    gap = np.abs(np.asarray(whole.image, dtype=int) - np.asarray(without.image, dtype=int)).max(-1)
    inside = gap[top:bottom, left:right].copy()
    gap[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4] = 0
    assert inside.max() > 40
    assert gap.max() == 0
    assert without.objects == whole.objects[1:]
    assert scene("prior", 6, without="cow").caption == ""
    with pytest.raises(ModelInputError, match="got without='dog'; expected: handbag, train"):
        scene("prior", 0, without="dog")
