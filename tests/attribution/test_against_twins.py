"""Occlusion, integrated gradients and infidelity equal their twins on a small LLaVA with an image."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lvlmscope as lv
from tests.reference import decoder, second_opinions
from tests.support import tiny_models

PROMPT = "<image> w7 w9 w11"
ANSWER = [31, 45, 77]


@pytest.fixture(scope="module")
def asked() -> tuple[Any, Any, Any]:
    """A model, its processor, and a trace of three given tokens."""
    model, processor = tiny_models.llava(1).model, tiny_models.processor()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    trace = lv.trace(model, image, PROMPT, answer=ANSWER, processor=processor, progress=False)
    return model, processor, trace


def inputs_of(processor: Any, image: np.ndarray) -> dict[str, torch.Tensor]:
    return dict(processor(images=[Image.fromarray(image)], text=PROMPT, return_tensors="pt"))


def image_score(model: Any, processor: Any, steps: list[int], image: np.ndarray) -> float:
    logs = decoder.answer_log_probs(model, inputs_of(processor, image), torch.tensor(ANSWER))
    return float(logs[steps].sum())


def test_occlusion(asked) -> None:
    model, processor, trace = asked
    found = lv.occlusion(trace, model, words=[0, 2], patches=(3, 2), processor=processor, batch_size=4)
    assert found.dims == ("word", "row", "column")
    assert found.sizes == {"word": 2, "row": 3, "column": 2}
    image = np.asarray(trace.image)
    for place, step in enumerate([0, 2]):
        twin = second_opinions.occlusion(image, 3, 2, partial(image_score, model, processor, [step]))
        np.testing.assert_allclose(found[place], twin, atol=2e-4)
        assert float(found.score[place]) == pytest.approx(image_score(model, processor, [step], image), abs=1e-4)
    assert float(abs(found).max()) > 0.01


def embedded(model: Any, processor: Any, trace: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of prompt and answer, float64, and which are the image's."""
    inputs = inputs_of(processor, np.asarray(trace.image))
    ids = torch.cat([inputs["input_ids"][0], torch.tensor(ANSWER[:-1])])
    return decoder.embeddings(model, ids, inputs["pixel_values"]).double(), ids == tiny_models.IMAGE


@pytest.mark.parametrize("baseline", ["blank", "mean", "zero"])
def test_integrated_gradients(asked, baseline: str) -> None:
    model, processor, trace = asked
    embeds, image = embedded(model, processor, trace)
    own = embeds[image]
    start = own.mean(0).expand_as(own) if baseline == "mean" else torch.zeros_like(own)
    if baseline == "blank":
        pixels = np.asarray(trace.image)
        grey = np.broadcast_to(pixels.mean((0, 1)).round().astype(np.uint8), pixels.shape)
        start = decoder.embeddings(
            model, torch.tensor([tiny_models.IMAGE] * 16), inputs_of(processor, grey)["pixel_values"]
        )
        start = start.double()
    steps = [1, 2]
    word = lv.plot.Word(text="both", start=0, end=1, steps=(1, 2))

    def score(tokens: torch.Tensor) -> torch.Tensor:
        whole = embeds.clone()
        whole[image] = tokens
        return second_opinions.word_score(model, whole, trace.prompt_length, ANSWER, steps)

    twin = second_opinions.integrated_gradients(own, start, score, 4)
    found = lv.integrated_gradients(trace, model, words=word, n_steps=4, baseline=baseline, processor=processor)
    assert found.dims == ("word", "key")
    assert found.key.values.tolist() == image.nonzero().flatten().tolist()
    np.testing.assert_allclose(found[0], twin, atol=1e-4)
    assert float(found.difference[0]) == pytest.approx(float(score(own) - score(start)), abs=1e-4)
    assert float(abs(found).max()) > 0.01


@pytest.mark.parametrize("normalise", [True, False])
def test_infidelity_of_parts_of_the_image(asked, normalise: bool) -> None:
    model, processor, trace = asked
    saliency = lv.occlusion(trace, model, words=1, patches=(2, 2), processor=processor)[0]
    options = {"samples": 4, "batch_size": 4, "seed": 3, "share": 0.5, "normalise": normalise, "processor": processor}
    found = lv.infidelity(trace, model, saliency, 1, **options)
    gone = (torch.rand(4, 2, 2, generator=torch.Generator().manual_seed(3)) < 0.5).numpy()
    image = np.asarray(trace.image)
    score = partial(image_score, model, processor, [1])
    losses = []
    for draw in gone:
        shown = image.copy()
        for row, column in np.argwhere(draw):
            part = second_opinions.covered(image, 2, 2, (row, column))
            shown = np.where(part != image, part, shown)
        losses.append(score(image) - score(shown))
    twin = second_opinions.infidelity(saliency.values, gone, losses, normalise=normalise)
    assert found == pytest.approx(twin, rel=1e-2, abs=1e-5)


def test_infidelity_of_image_tokens(asked) -> None:
    model, processor, trace = asked
    embeds, image = embedded(model, processor, trace)
    own = embeds[image]
    saliency = lv.integrated_gradients(trace, model, words=1, n_steps=4, baseline="mean", processor=processor)[0]
    options = {"samples": 5, "batch_size": 5, "seed": 1, "share": 0.3, "processor": processor}
    found = lv.infidelity(trace, model, saliency, 1, **options)
    gone = (torch.rand(5, len(own), generator=torch.Generator().manual_seed(1)) < 0.3).numpy()
    losses = []
    for draw in [np.zeros(len(own), dtype=bool), *gone]:
        whole = embeds.clone()
        whole[image] = torch.where(torch.from_numpy(draw)[:, None], own.mean(0), own)
        losses.append(float(second_opinions.word_score(model, whole, trace.prompt_length, ANSWER, [1])))
    twin = second_opinions.infidelity(saliency.values, gone, [losses[0] - one for one in losses[1:]], normalise=True)
    assert found == pytest.approx(twin, rel=1e-2, abs=1e-5)
