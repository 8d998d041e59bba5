"""From images and words to model inputs, with a clear refusal for what cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lvlmscope.errors import ImageInputError, ModelInputError, PromptError, message, task
from lvlmscope.models.families import Family
from lvlmscope.traces.image_sources import kind_of_text
from lvlmscope.traces.images import names_of, read_images

__all__ = ["ModelInputs", "Sample", "check_inputs", "join", "prepare", "tokenize_answer"]

_PLACEHOLDER = "<image>"
_QUESTION = "The question."  # stands for any, to see what a template puts around it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """What one sample was made from.

    Attributes:
        images: The images.
        names: The images' file names, empty where there is none.
        prompt: The prompt as the user gave it.
        inputs: The sample's own model inputs, batch axis 1, without padding.
    """

    images: tuple[Image.Image, ...]
    names: tuple[str, ...]
    prompt: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInputs:
    """Model inputs and where they come from.

    Attributes:
        inputs: Tensors for ``generate``, among them input_ids and attention_mask ``[batch, prompt]``.
        asked: What each sample was made from, empty for inputs that came prepared.
        processor: What made the inputs, None for prepared ones.
    """

    inputs: dict[str, Any]
    asked: tuple[Sample, ...] = ()
    processor: Any = None


def prepare(image: Any, prompt: Any, processor: Any, family: Family) -> ModelInputs:
    """Model inputs for one prompt about one or several images.

    Args:
        image: What ``read_images`` takes.
        prompt: The question, which goes into the processor's chat template. With the image token and the template's
            own marks in it (`USER:`, `<|im_start|>`) it is taken as the whole prompt; with the image token alone the
            images come where the tokens stand.
        processor: The model's processor.
        family: The model's family, which knows how many images it takes.

    Returns:
        The inputs.

    Raises:
        ImageInputError: No image, more than the family takes, or one that the processor refuses.
        PromptError: An empty prompt, image and prompt swapped, a placeholder of another model, or another number of
            placeholders than of images.
    """
    _refuse_swapped(image, prompt)
    images = read_images(image)
    if not isinstance(prompt, str) or not prompt.strip():
        got = "an empty prompt" if isinstance(prompt, str) else f"{type(prompt).__name__} as prompt"
        raise PromptError(message(got, "a question or an instruction", "pass some text", task="trace a prompt"))
    if family.max_images is not None and len(images) > family.max_images:
        got, expected = f"{len(images)} images", f"{family.max_images} for the family {family.name}"
        raise ImageInputError(message(got, expected, "trace them one by one", task="trace images"))
    text = _fill_template(prompt, processor, len(images))
    try:
        inputs = dict(processor(images=list(images), text=text, return_tensors="pt"))
    except ValueError as error:  # some refuse long strips
        sizes = ", ".join(f"{image.width} x {image.height}" for image in images)
        got, fix = f"images of {sizes} pixels: {error}", "crop or resize them first"
        expected = f"what {type(processor).__name__} takes"
        raise ImageInputError(message(got, expected, fix, task="prepare images")) from error
    asked = Sample(images=images, names=names_of(image), prompt=prompt, inputs=inputs)
    return ModelInputs(inputs=inputs, asked=(asked,), processor=processor)


def join(samples: Sequence[ModelInputs], family: Family) -> ModelInputs:
    """One batch, padded on the left, of samples prepared one by one.

    Args:
        samples: At least one, of one processor.
        family: The model's family, which knows how many images it takes.

    Returns:
        The batch, by one call of the processor.
    """
    if len(samples) == 1:
        return samples[0]
    asked = tuple(one for sample in samples for one in sample.asked)
    processor = samples[0].processor
    texts = [_fill_template(one.prompt, processor, len(one.images)) for one in asked]
    images: Any = [list(one.images) for one in asked]
    if family.max_images == 1:
        images = [one.images[0] for one in asked]
    tokenizer = getattr(processor, "tokenizer", processor)
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        inputs = dict(processor(images=images, text=texts, padding=True, return_tensors="pt"))
    finally:
        tokenizer.padding_side = side
    return ModelInputs(inputs=check_inputs(inputs), asked=asked, processor=processor)


def _refuse_swapped(image: Any, prompt: Any) -> None:
    """A text where the image belongs, and an image where the text does."""
    if isinstance(image, str) and kind_of_text(image) == "path" and not _is_file(image):
        shown = isinstance(prompt, Image.Image | np.ndarray | torch.Tensor | Path)
        if shown or (isinstance(prompt, str) and _is_file(prompt)):
            got, expected = f"the text {image!r}"[:80] + " as image", "the image first, then the prompt"
            raise PromptError(message(got, expected, "swap the two", task="trace a prompt"))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a file's name
        return False


def _fill_template(prompt: str, processor: Any, count: int) -> str:
    token = getattr(processor, "image_token", None) or _PLACEHOLDER
    if _PLACEHOLDER in prompt and token != _PLACEHOLDER:
        got, expected = f"{_PLACEHOLDER} in the prompt", f"a question alone, or a whole prompt with {token}"
        fix = f"leave {_PLACEHOLDER} out: the chat template puts the image in"
        raise PromptError(message(got, expected, fix, task="fill a prompt"))
    templated = bool(getattr(processor, "chat_template", None))
    if token in prompt:
        if prompt.count(token) != count:
            got, fix = f"{prompt.count(token)} of {token} and {count} images", "give one placeholder per image"
            raise PromptError(message(got, "as many placeholders as images", fix, task="fill a prompt"))
        if templated and not _has_marks(prompt, processor, token):
            return _templated(prompt.split(token), processor)
        return prompt
    if templated:
        return _templated([*[""] * count, prompt], processor)
    return f"{token * count}\n{prompt}"


def _templated(texts: Sequence[str], processor: Any) -> str:
    """The chat template around texts with an image between any two of them."""
    content: list[dict[str, str]] = []
    for number, text in enumerate(texts):
        content += [{"type": "image"}] if number else []
        content += [{"type": "text", "text": text.strip()}] if text.strip() else []
    conversation = [{"role": "user", "content": content}]
    filled: str = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    return filled


def _has_marks(prompt: str, processor: Any, token: str) -> bool:
    """Whether a prompt holds what the template puts before the image or after the question."""
    before, _, after = _templated(["", _QUESTION], processor).partition(token)
    marks = [*before.split()[-1:], *after.partition(_QUESTION)[2].split()]
    return any(mark in prompt for mark in marks)


@task("use prepared inputs")
def check_inputs(inputs: Any) -> dict[str, Any]:
    """Prepared model inputs as a dict, with an attention mask, padded on the left.

    Args:
        inputs: What a processor returned: a mapping with input_ids ``[batch, prompt]``.

    Returns:
        A new dict.

    Raises:
        ModelInputError: No input_ids, other shapes, or padding on the right.
    """
    data = dict(inputs)
    ids = data.get("input_ids")
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2 or not ids.numel():
        got, expected = f"input_ids {getattr(ids, 'shape', None)}", "a tensor [batch, prompt]"
        raise ModelInputError(message(got, expected, "pass what the processor returns with return_tensors='pt'"))
    mask = data.setdefault("attention_mask", torch.ones_like(ids))
    if mask.shape != ids.shape:
        got = f"attention_mask {list(mask.shape)} for input_ids {list(ids.shape)}"
        raise ModelInputError(message(got, "a 2-D mask of the same shape", "pass the processor's mask"))
    if (mask.bool()[:, :-1] & ~mask.bool()[:, 1:]).any() or not mask[:, -1].all():
        fix = "set processor.tokenizer.padding_side = 'left'"
        raise ModelInputError(message("padding that is not on the left", "left-padded batches", fix))
    return data


@task("use an answer given in advance")
def tokenize_answer(answer: Any, processor: Any) -> torch.Tensor:
    """Ids of an answer given in advance, ``[step]``.

    Args:
        answer: Text, or token ids.
        processor: Its tokenizer is used for text.

    Returns:
        int64 ``[step]``, at least one.

    Raises:
        PromptError: Empty text, text the tokenizer cannot represent, or text without a processor.
    """
    if not isinstance(answer, str):
        ids = torch.as_tensor(answer, dtype=torch.int64).flatten().cpu()
    elif processor is None:
        got, fix = "text, but no processor", "pass processor=, or token ids"
        raise PromptError(message(got, "text with a processor, or token ids", fix))
    else:
        tokenizer = getattr(processor, "tokenizer", processor)
        ids = torch.tensor(tokenizer(answer, add_special_tokens=False)["input_ids"], dtype=torch.int64)
        back = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if ids.numel() and "".join(back.split()) != "".join(answer.split()):
            got = f"text that becomes {back!r}"
            raise PromptError(message(got, "text of the tokenizer's vocabulary", "change the answer"))
    if not ids.numel():
        raise PromptError(message("an empty answer", "at least one token", "pass some text"))
    return ids
