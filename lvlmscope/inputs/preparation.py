"""From images and words to model inputs, with a clear refusal for what cannot be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lvlmscope.errors import ImageInputError, ModelInputError, PromptError, message, task
from lvlmscope.inputs.prompt_text import fill_prompt, is_messages, render_messages, split_messages
from lvlmscope.models.families import Family
from lvlmscope.traces.image_identity import names_of, read_images
from lvlmscope.traces.image_sources import is_file, kind_of_text

__all__ = ["ModelInputs", "Sample", "check_inputs", "join", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """What one sample was made from.

    Attributes:
        images: The images.
        names: The images' file names, empty where there is none.
        prompt: The prompt as the user gave it; the text that the template makes of messages.
        text: The text that the processor took: the prompt in its template, one placeholder per image.
        inputs: The sample's own model inputs, batch axis 1, without padding.
    """

    images: tuple[Image.Image, ...]
    names: tuple[str, ...]
    prompt: str
    text: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInputs:
    """Model inputs and where they come from.

    Attributes:
        inputs: Tensors for ``generate``, among them input_ids and attention_mask ``[batch, prompt]``.
        samples: What each sample was made from, empty for inputs that came prepared.
        processor: What made the inputs, None for prepared ones.
    """

    inputs: dict[str, Any]
    samples: tuple[Sample, ...] = ()
    processor: Any = None


def prepare(image: Any, prompt: Any, processor: Any, family: Family) -> ModelInputs:
    """Model inputs for one prompt about one or several images.

    Args:
        image: What ``read_images`` takes; None where messages hold the images.
        prompt: The question, which goes into the processor's chat template, with image tokens exactly where the images
            come; a whole prompt, which has the template's own marks in it (`USER:`, `<|im_start|>`) and is used as it
            stands; or a list of messages, whose last turn may be the beginning of the model's answer.
        processor: The model's processor.
        family: The model's family, which knows how many images it takes.

    Returns:
        The inputs.

    Raises:
        ImageInputError: No image, more than the family takes, or one that the processor refuses.
        PromptError: An empty prompt, image and prompt swapped, messages that are none, a placeholder of another model,
            or another number of placeholders than of images.
    """
    _refuse_swapped(image, prompt)
    if is_messages(prompt):
        turns, sources = split_messages(prompt, image)
        images, names = _read(sources, family), names_of(sources)
        text = prompt = render_messages(turns, processor)
    else:
        images, names = _read(image, family), names_of(image)
        text = fill_prompt(_require_text(prompt), processor, len(images))
    try:
        inputs = _processed(processor, list(images), text)
    except ValueError as error:  # some refuse long strips
        sizes = ", ".join(f"{image.width} x {image.height}" for image in images)
        got, fix = f"images of {sizes} pixels: {error}", "crop or resize them first"
        expected = f"what {type(processor).__name__} takes"
        raise ImageInputError(message(got, expected, fix, task="prepare images")) from error
    sample = Sample(images=images, names=names, prompt=prompt, text=text, inputs=inputs)
    return ModelInputs(inputs=inputs, samples=(sample,), processor=processor)


def _read(source: Any, family: Family) -> tuple[Image.Image, ...]:
    images = read_images(source)
    if family.max_images is not None and len(images) > family.max_images:
        got, expected = f"{len(images)} images", f"{family.max_images} for the family {family.name}"
        fix = "trace them one by one, or load a model whose family takes several (model.family.max_images is None)"
        raise ImageInputError(message(got, expected, fix, task="trace images"))
    return images


def _require_text(prompt: Any) -> str:
    if not isinstance(prompt, str) or not prompt.strip():
        got = "an empty prompt" if isinstance(prompt, str) else f"{type(prompt).__name__} as prompt"
        expected = "a question, an instruction, or a list of messages"
        raise PromptError(message(got, expected, "pass some text", task="trace a prompt"))
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        got, fix = f"text that is not Unicode at character {error.start}", "pass it as UTF-8"
        raise PromptError(message(got, "text in Unicode", fix, task="trace a prompt")) from error
    return prompt


def _processed(processor: Any, images: Any, text: Any, **options: Any) -> dict[str, Any]:
    """What a processor makes of images and text; a text that begins with the BOS token gets no second one."""
    tokenizer = getattr(processor, "tokenizer", processor)
    bos, first = getattr(tokenizer, "bos_token", None), text if isinstance(text, str) else text[0]
    added = {"add_special_tokens": False} if bos and first.startswith(bos) else {}
    return dict(processor(images=images, text=text, return_tensors="pt", **added, **options))


def join(parts: Sequence[ModelInputs], family: Family) -> ModelInputs:
    """One batch, padded on the left, of samples prepared one by one.

    Args:
        parts: At least one, of one processor.
        family: The model's family, which knows how many images it takes.

    Returns:
        The batch, by one call of the processor.
    """
    if len(parts) == 1:
        return parts[0]
    samples = tuple(one for part in parts for one in part.samples)
    processor = parts[0].processor
    images: Any = [list(one.images) for one in samples]
    if family.max_images == 1:
        images = [one.images[0] for one in samples]
    tokenizer = getattr(processor, "tokenizer", processor)
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        inputs = _processed(processor, images, [one.text for one in samples], padding=True)
    finally:
        tokenizer.padding_side = side
    return ModelInputs(inputs=check_inputs(inputs), samples=samples, processor=processor)


def _refuse_swapped(image: Any, prompt: Any) -> None:
    """A text where the image belongs, and an image where the text does; messages in the image's place."""
    if prompt is None and is_messages(image) and all("role" in turn for turn in image):
        got, expected = "messages as image", "the image first, or None, then the messages"
        raise PromptError(message(got, expected, "pass prompt=messages", task="trace a prompt"))
    if isinstance(image, str) and kind_of_text(image) == "path" and not is_file(image):
        shown = isinstance(prompt, Image.Image | np.ndarray | torch.Tensor | Path)
        if shown or (isinstance(prompt, str) and is_file(prompt)):
            got, expected = f"the text {image!r}"[:80] + " as image", "the image first, then the prompt"
            raise PromptError(message(got, expected, "swap the two", task="trace a prompt"))


@task("use prepared inputs")
def check_inputs(inputs: Any) -> dict[str, Any]:
    """Prepared model inputs as a dict, with an attention mask, padded on the left.

    Args:
        inputs: What a processor returned: a mapping with input_ids ``[batch, prompt]``.

    Returns:
        A new dict.

    Raises:
        ModelInputError: No mapping, no input_ids, other shapes, or padding on the right.
    """
    if not isinstance(inputs, Mapping):
        fix = "pass what the processor returns with return_tensors='pt'"
        raise ModelInputError(message(f"inputs of type {type(inputs).__name__}", "a mapping with input_ids", fix))
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
