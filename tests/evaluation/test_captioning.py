"""Batched answers: prepared as for a trace, whatever the tokenizer's padding and with or without a chat template."""

import pytest
from PIL import Image

from lvlmscope.capture.trace_one import trace
from lvlmscope.errors import ImageInputError
from lvlmscope.evaluation.captioning import answers
from lvlmscope.evaluation.intervention_trials import measure
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.tiny import scenes
from lvlmscope.verification.loading import load
from tests.support import tiny_models

QUESTIONS = ("Describe the image.", "Is there a dog in the image?", "Is there a cat?", "Describe the image.")
LENGTH = 16


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Image.Image, str]]:
    return [(s.image, question) for s, question in zip(scenes("hard", n=4, seed=7), QUESTIONS, strict=True)]


@pytest.fixture
def model() -> LoadedModel:
    """A model of its own for each test: its processor is changed."""
    return load("tiny")


def alone(model: LoadedModel, pairs: list[tuple[Image.Image, str]]) -> list[str]:
    """The answer of a trace of each pair: nothing is padded."""
    return [trace(model, image, asked, max_new_tokens=LENGTH, do_sample=False).answer.strip() for image, asked in pairs]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_answers_as_each_pair_alone(
    model: LoadedModel, pairs: list[tuple[Image.Image, str]], side: str
) -> None:
    tokenizer = model.processor.tokenizer
    tokenizer.padding_side = side
    together = answers(model.model, model.processor, pairs, max_new_tokens=LENGTH)
    assert together == alone(model, pairs)
    assert together == answers(model.model, model.processor, pairs, max_new_tokens=LENGTH, batch_size=1)
    assert tokenizer.padding_side == side
    assert len(set(together)) > 2


@pytest.mark.parametrize("batch_size", [1, 3])
def test_without_a_chat_template_as_in_a_trace(pairs: list[tuple[Image.Image, str]], batch_size: int) -> None:
    untemplated = load((tiny_models.llava().model, tiny_models.processor()))
    untemplated.processor.tokenizer.padding_side = "right"
    asked = [(image, words) for (image, _), words in zip(pairs, ("w7", "w8 w9 w10", "w11 w12"), strict=False)]
    found = answers(untemplated.model, untemplated.processor, asked, max_new_tokens=LENGTH, batch_size=batch_size)
    assert found == alone(untemplated, asked)
    assert all(found)


def test_scores_do_not_depend_on_the_tokenizers_padding(model: LoadedModel) -> None:
    held = list(scenes("hard", n=6, seed=7))
    expected = measure(model, held, max_new_tokens=LENGTH).summary()
    model.processor.tokenizer.padding_side = "right"
    assert measure(model, held, max_new_tokens=LENGTH).summary() == expected


def test_the_familys_number_of_images_is_known(model: LoadedModel) -> None:
    both = [scene.image for scene in scenes("hard", n=2, seed=7)]
    with pytest.raises(ImageInputError, match="2 images"):
        answers(model.model, model.processor, [(both, QUESTIONS[0])], max_new_tokens=2)  # type: ignore[list-item]
