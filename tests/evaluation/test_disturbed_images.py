"""Disturbed images: how much noise, how wide a blur, the same pixels for every row."""

import numpy as np
import pytest
from PIL import Image

from lvlmscope.errors import EvaluationError, ModelInputError
from lvlmscope.evaluation import Dataset, Item, bundled_dataset, compare_runs, disturbed, evaluate
from lvlmscope.verification.loading import load


def grey(*ids: str) -> Dataset:
    image = Image.new("RGB", (64, 48), (128, 128, 128))
    items = tuple(Item(id=f"{one}/q", image=image, image_id=one, question="?", label=True) for one in ids)
    return Dataset(name="grey", metric="pope", items=items, source={"n": 1})


def pixels(data: Dataset, number: int = 0) -> np.ndarray:
    return np.asarray(data.items[number].open(), dtype=np.float64)


def test_noise_has_the_deviation_that_was_asked_for_in_every_channel() -> None:
    found = pixels(disturbed(grey("a"), noise=0.1))
    assert found.shape == (48, 64, 3)
    np.testing.assert_allclose(found.std((0, 1)), 25.5, rtol=0.06)
    np.testing.assert_allclose(found.mean((0, 1)), 128, atol=2)
    assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) < 0.1


def test_noise_follows_the_image_and_the_seed_not_the_place() -> None:
    one, other = disturbed(grey("a", "b"), noise=0.1), disturbed(grey("b", "a"), noise=0.1)
    np.testing.assert_array_equal(pixels(one, 0), pixels(one, 0))
    np.testing.assert_array_equal(pixels(one, 0), pixels(other, 1))
    assert not np.array_equal(pixels(one, 0), pixels(one, 1))
    assert not np.array_equal(pixels(one, 0), pixels(disturbed(grey("a", "b"), noise=0.1, seed=1), 0))


def test_blur_spreads_a_line_by_its_deviation() -> None:
    image = np.zeros((41, 41, 3), dtype=np.uint8)
    image[:, 20] = 255
    items = (Item(id="1", image=Image.fromarray(image), image_id="1", objects=("dog",)),)
    found = pixels(disturbed(Dataset(name="line", metric="chair", items=items), blur=3.0))[20, :, 0]
    places = np.arange(41) - 20
    assert found.argmax() == 20
    assert np.sqrt((found * places**2).sum() / found.sum()) == pytest.approx(3.0, rel=0.1)


def test_the_rest_of_the_data_set_stays() -> None:
    data = grey("a")
    found = disturbed(data, noise=0.1, blur=2.0)
    assert (found.name, found.fingerprint) == ("grey-blur2-noise0.1", data.fingerprint)
    assert found.source == {"n": 1, "disturbed": {"blur": 2.0, "noise": 0.1, "seed": 0}}


def test_runs_on_clean_and_disturbed_images_stand_in_one_table() -> None:
    model, data = load("tiny"), bundled_dataset("tiny-chair", n=2)
    clean = evaluate(model, data, resamples=100, max_new_tokens=24)
    noisy = evaluate(model, disturbed(data, noise=0.5), resamples=100, max_new_tokens=24)
    assert clean.rows[0].answers != noisy.rows[0].answers
    both = compare_runs([clean, noisy])
    assert both.labels == ("plain", "plain (run 2, tiny-chair-noise0.5)")
    assert [(one.row, one.against) for one in both.comparisons] == [both.labels[::-1]]


def test_nothing_to_do_and_nothing_to_disturb_are_refused() -> None:
    with pytest.raises(EvaluationError, match="noise=0, blur=0; expected: one of them above 0"):
        disturbed(grey("a"))
    with pytest.raises(ModelInputError, match="noise=-1"):
        disturbed(grey("a"), noise=-1.0)
    blind = Dataset(name="x", metric="chair", items=(Item(id="7", image=None, image_id="7", objects=("dog",)),))
    with pytest.raises(EvaluationError, match="item 7 without an image"):
        disturbed(blind, blur=1.0)
