"""Attribution: planted parts, completeness, families, state left behind, precision, and bad input."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

import lvlmscope as lv
from lvlmscope.attribution.answer_scorer import AnswerScorer
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import (
    GeometryError,
    ModelInputError,
    ReplayError,
    ShapeError,
    UnsupportedModelError,
    UnsupportedOptionError,
)
from lvlmscope.tiny import scene
from tests.support import tiny_models
from tests.support.random_traces import blind
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}


@pytest.fixture(scope="module")
def bundled():
    model = lv.load("tiny")
    shown = scene("prior", 0)
    return model, lv.trace(model, shown.image, "Describe the image.", max_new_tokens=6, progress=False), shown


@pytest.fixture(scope="module")
def small():
    case = tiny_models.llava(1)
    return case, from_inputs(case.model, case.inputs, **OPTIONS, progress=False)


def planted_answers(monkeypatch: pytest.MonkeyPatch, trace: Any) -> None:
    """The second token's log-probability falls by the darkness of the block at row 2, column 1 of 4 x 4."""
    own = np.asarray(trace.image, dtype=float)[56:84, 28:56].mean()

    def answer(self: AnswerScorer, images: Any, *, place: int = 0) -> torch.Tensor:
        del place
        found = self.trace.log_probs.repeat(len(images), 1)
        for row, image in zip(found, images, strict=True):
            row[1] += (np.asarray(image, dtype=float)[56:84, 28:56].mean() - own) / 100
        return found

    monkeypatch.setattr(AnswerScorer, "with_images", answer)


def test_the_one_part_that_matters_is_found(bundled, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trace, _ = bundled
    planted_answers(monkeypatch, trace)
    found = lv.occlusion(trace, model, words=[0, 1], patches=(4, 4), baseline=(0, 0, 0))
    expected = np.asarray(trace.image, dtype=float)[56:84, 28:56].mean() / 100
    assert float(found[1, 2, 1]) == pytest.approx(expected, rel=1e-4)
    assert (found[0] == 0).all()
    assert int((found[1] != 0).sum()) == 1
    assert (int(found.top[2]), int(found.bottom[2]), int(found.left[1]), int(found.right[1])) == (56, 84, 28, 56)


def test_an_objects_box_speaks_for_its_word_more_than_the_background(bundled) -> None:
    model, trace, shown = bundled
    left, top, right, bottom = shown.boxes[shown.objects.index("handbag")]
    mask = np.zeros((112, 112), dtype=int)
    mask[top:bottom, left:right] = 1
    mask[: bottom - top, : right - left] = 2  # as large, and nothing there
    found = lv.occlusion(trace, model, words="handbag", mask=mask)[0]
    parts = [float(found[spot]) for spot in ((111, 111), (top, left), (0, 0))]
    assert parts[1] > 1.0 > abs(parts[2])
    assert len(np.unique(found)) == 3


def test_one_token_off_its_baseline_takes_everything(small) -> None:
    case, trace = small
    answerer = lv.attribution.answer_scorer.answer_scorer_of(trace, case.model, inputs=case.inputs)
    with answerer.with_embeddings(1) as (own, _):
        start = own.clone()
    start[5] = own.mean(0)
    found = lv.integrated_gradients(trace, case.model, words=0, baseline=start, inputs=case.inputs, n_steps=32)[0]
    assert float(found[5]) == pytest.approx(float(found.difference), abs=1e-2)
    assert int((found != 0).sum()) == 1


EVERY = sorted(set(FAMILIES) - {"mllama"}) + sorted(set(OTHERS) - {"instructblip_t5", "florence2"})


@pytest.mark.parametrize("name", EVERY)
def test_integrated_gradients_are_complete_in_every_family(name: str) -> None:
    case = (FAMILIES | OTHERS)[name](1)
    trace = from_inputs(case.model, case.inputs, **OPTIONS, progress=False)
    found = lv.integrated_gradients(trace, case.model, words=[0, 2], inputs=case.inputs, n_steps=16)
    np.testing.assert_allclose(found.sum("key"), found.difference, atol=0.08)
    if name != "gemma3":  # its projection starts at 0: there is nothing to attribute
        assert float(abs(found).max()) > 1e-3


def test_everything_is_as_before_also_after_an_error(small) -> None:
    case, trace = small
    before = tiny_models.footprint(case.model)
    flags = [weight.requires_grad for weight in case.model.parameters()]
    first = lv.integrated_gradients(trace, case.model, words=0, n_steps=3, inputs=case.inputs)
    with torch.no_grad():
        again = lv.integrated_gradients(trace, case.model, words=0, n_steps=3, inputs=case.inputs, batch_size=2)
    xr.testing.assert_allclose(first, again, atol=1e-5)
    with pytest.raises(ModelInputError, match=r"a baseline of shape \[3\]; expected: 'mean', 'zero', or a tensor of"):
        lv.integrated_gradients(trace, case.model, words=0, baseline=torch.zeros(3), inputs=case.inputs)
    assert tiny_models.footprint(case.model) == before
    assert [weight.requires_grad for weight in case.model.parameters()] == flags
    assert all(weight.grad is None for weight in case.model.parameters())


def test_frozen_weights_and_half_precision() -> None:
    case = tiny_models.llava(1, dtype=torch.bfloat16)
    case.model.requires_grad_(False)
    trace = from_inputs(case.model, case.inputs, **OPTIONS, progress=False)
    found = lv.integrated_gradients(trace, case.model, words=0, inputs=case.inputs, n_steps=8)
    assert found.dtype == np.float32
    assert float(found.sum()) == pytest.approx(float(found.difference[0]), abs=0.1)


def test_an_empty_map_foretells_nothing_and_a_good_one_more(bundled, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trace, _ = bundled
    planted_answers(monkeypatch, trace)
    good = lv.occlusion(trace, model, words=1, patches=(4, 4), baseline=(0, 0, 0))[0]
    options: dict[str, Any] = {"baseline": (0, 0, 0), "samples": 16}
    assert lv.infidelity(trace, model, good, 1, **options) == pytest.approx(0, abs=1e-6)
    assert lv.infidelity(trace, model, good, 1, **options, normalise=False) == pytest.approx(0, abs=1e-6)
    empty, flat = (lv.infidelity(trace, model, one, 1, **options) for one in (good * 0, good * 0 + 1))
    assert empty > flat > 0.01
    assert lv.infidelity(trace, model, good * 1000, 1, **options) == pytest.approx(0, abs=1e-6)
    assert np.isnan(lv.infidelity(trace, model, good * np.nan, 1, **options))


def test_sensitivity_is_the_largest_relative_change(bundled) -> None:
    model, trace, _ = bundled
    assert lv.max_sensitivity(trace, model, lambda _: np.ones((2, 2)), samples=2) == 0
    seen = []

    def pixels(again: Any) -> np.ndarray:
        seen.append(np.asarray(again.image) / 255)
        return seen[-1]

    found = lv.max_sensitivity(trace, model, pixels, radius=0.1, samples=3)
    own, *disturbed = seen
    assert len(disturbed) == 3
    assert found == pytest.approx(max(np.linalg.norm(one - own) / np.linalg.norm(own) for one in disturbed))
    assert max(abs(one - own).max() for one in disturbed) <= 0.1 + 1 / 255


def test_sensitivity_takes_a_signal(bundled) -> None:
    model, trace, _ = bundled
    assert 0 < lv.max_sensitivity(trace, model, lambda t: lv.image_attention_focus(t).isel(step=4), samples=1) < 1


def test_bad_input_of_any(small, bundled) -> None:
    case, trace = small
    model, seen, _ = bundled
    without = blind(trace)
    with pytest.raises(ModelInputError, match="without image keys"):
        lv.integrated_gradients(without, case.model, inputs=case.inputs)
    with pytest.raises(ModelInputError, match="step 99; expected: -3 to 2"):
        lv.integrated_gradients(trace, case.model, words=99, inputs=case.inputs)
    with pytest.raises(ModelInputError, match="no words"):
        lv.occlusion(seen, model, words=[])
    with pytest.raises(ModelInputError, match="a trace without its images"):
        lv.occlusion(trace, case.model)
    handle = lv.attach(model, lv.LocoRE())
    with pytest.raises(ModelInputError, match=r"interventions switched on.*outside lv\.intervene"):
        lv.occlusion(seen, model, words=0)
    handle.withdraw()
    with pytest.raises(ReplayError, match=r"differ from the trace's by .* without interventions"):
        lv.occlusion(dataclasses.replace(seen, log_probs=seen.log_probs - 1), model, words=0)
    with pytest.raises(ModelInputError, match="inputs of 2 samples; expected: one sample without padding"):
        lv.integrated_gradients(trace, case.model, inputs=tiny_models.llava(2).inputs)


def test_bad_input_of_occlusion(bundled) -> None:
    model, trace, _ = bundled
    with pytest.raises(GeometryError, match="200 parts along 112 pixels"):
        lv.occlusion(trace, model, patches=(200, 2))
    with pytest.raises(GeometryError, match="a baseline of 4 x 4 pixels; expected: the image's 112 x 112"):
        lv.occlusion(trace, model, baseline=Image.new("RGB", (4, 4)))
    with pytest.raises(ModelInputError, match="baseline='grey'; expected: 'mean'"):
        lv.occlusion(trace, model, baseline="grey")
    with pytest.raises(ModelInputError, match=r"a mask of float64 with shape \[2, 2\]; expected: whole numbers"):
        lv.occlusion(trace, model, mask=np.zeros((2, 2)))
    for patches in ((0, 8), (2, 0)):
        with pytest.raises(ModelInputError, match=r"patches=\(.*expected: \(rows, columns\), 1 or more of each"):
            lv.occlusion(trace, model, patches=patches)
    with pytest.raises(ModelInputError, match="image 1; expected: 0 to 0"):
        lv.occlusion(trace, model, image_index=1)
    with pytest.raises(ModelInputError, match="batch_size=0"):
        lv.occlusion(trace, model, batch_size=0)


def test_bad_input_of_integrated_gradients(small) -> None:
    case, trace = small
    with torch.inference_mode(), pytest.raises(UnsupportedOptionError, match=r"torch\.inference_mode; expected"):
        lv.integrated_gradients(trace, case.model, inputs=case.inputs)
    with pytest.raises(ModelInputError, match=r"a baseline 'blank'; expected: 'mean', 'zero', or a tensor"):
        lv.integrated_gradients(trace, case.model, inputs=case.inputs, baseline="blank")
    with pytest.raises(ModelInputError, match="n_steps=0, batch_size=8; expected: 1 or more"):
        lv.integrated_gradients(trace, case.model, inputs=case.inputs, n_steps=0)
    crossing = FAMILIES["mllama"](1)
    its = from_inputs(crossing.model, crossing.inputs, **OPTIONS, progress=False)
    with pytest.raises(UnsupportedModelError, match="looks at the image in cross-attention layers"):
        lv.integrated_gradients(its, crossing.model, inputs=crossing.inputs)


def test_sensitivity_keeps_the_keys_that_the_trace_kept(bundled) -> None:
    model, _, shown = bundled
    trace = lv.trace(model, shown.image, "Describe the image.", answer="A", keep="image_answer", progress=False)
    assert lv.max_sensitivity(trace, model, lambda one: one.attention.mean((0, 1, 2)).numpy(), samples=1) > 0


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input_of_infidelity_and_sensitivity(bundled) -> None:
    model, trace, _ = bundled
    saliency = xr.DataArray(np.ones((2, 2)), dims=("row", "column"))
    with pytest.raises(ModelInputError, match=r"share=1\.0, samples=64"):
        lv.infidelity(trace, model, saliency, 1, share=1.0)
    for several in (None, [0, 1]):
        with pytest.raises(ModelInputError, match="expected: one word of the answer, or a step's number"):
            lv.infidelity(trace, model, saliency, several)
    with (
        pytest.warns(UserWarning, match="no forward of the model ran"),
        lv.intervene(model, lv.DLEAF()),
        pytest.raises(ModelInputError, match="got interventions on in the model alone"),
    ):
        lv.max_sensitivity(trace, model, lambda _: np.ones(2))
    with pytest.raises(
        ModelInputError, match="got interventions on in the trace alone; expected: the same interventions"
    ):
        lv.max_sensitivity(dataclasses.replace(trace, effects=({"name": "DLEAF"},)), model, lambda _: np.ones(2))
    with pytest.raises(ShapeError, match=r"a map with dims \{'layer': 2, 'key': 2\}; expected: dims row and column"):
        lv.infidelity(trace, model, saliency.rename(row="layer", column="key"), 1)
    with pytest.raises(ShapeError, match="a value for each image token"):
        lv.infidelity(trace, model, xr.DataArray(np.ones(2), dims="key", coords={"key": [0, 1]}), 1)
    with pytest.raises(ModelInputError, match=r"radius=0\.0, samples=10; expected: a radius from 1/255"):
        lv.max_sensitivity(trace, model, lambda _: np.ones(2), radius=0.0)
    with pytest.raises(ModelInputError, match="a trace without its images"):
        lv.max_sensitivity(planted_trace(), model, lambda _: np.ones(2))
    sizes = iter(range(1, 9))
    with pytest.raises(ShapeError, match=r"maps of shapes \[\(1,\), \(2,\)\]"):
        lv.max_sensitivity(trace, model, lambda _: np.ones(next(sizes)), samples=1)
