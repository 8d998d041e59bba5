"""Answers to many (image, question) pairs with plain `generate`, in left-padded batches."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from lvlmscope import progress
from lvlmscope.inputs.preparation import join, prepare
from lvlmscope.models.families import Family, family_of

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["answers"]


def answers(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    pairs: "Iterable[tuple[Image, str]]",
    *,
    max_new_tokens: int,
    batch_size: int = 50,
    description: str = "answers",
) -> list[str]:
    """Greedy answers, one for each pair, in order.

    Args:
        model: Any image-text-to-text model.
        processor: Its processor.
        pairs: Images with their questions, prepared as for `trace`.
        max_new_tokens: The same for all: caption length alone moves every hallucination score.
        batch_size: Pairs in one `generate` call.
        description: Label of the progress bar.
    """
    asked = list(pairs)
    family = family_of(model)
    written: list[str] = []
    with progress.bar(total=len(asked), desc=description, delay=2, leave=False) as bar:
        for start in range(0, len(asked), batch_size):
            chunk = asked[start : start + batch_size]
            written += _batch(model, processor, family, chunk, max_new_tokens)
            bar.update(len(chunk))
    return written


def _batch(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    family: Family,
    pairs: "Sequence[tuple[Image, str]]",
    max_new_tokens: int,
) -> list[str]:
    prepared = join([prepare(image, question, processor, family) for image, question in pairs], family)
    inputs = BatchFeature(prepared.inputs).to(model.device, model.dtype)
    generate: Any = model.generate  # a mixin method that torch's stubs take for a tensor
    with torch.no_grad():
        ids = generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
