"""Answers to many (picture, question) pairs with plain `generate`, in left-padded batches."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, ProcessorMixin

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
        processor: Its processor, with a chat template.
        pairs: Pictures with their questions.
        max_new_tokens: The same for all: caption length alone moves every hallucination score.
        batch_size: Pairs in one `generate` call.
        description: Label of the progress bar.
    """
    asked = list(pairs)
    written: list[str] = []
    with tqdm(total=len(asked), desc=description, delay=2, leave=False) as bar:
        for start in range(0, len(asked), batch_size):
            chunk = asked[start : start + batch_size]
            written += _batch(model, processor, chunk, max_new_tokens)
            bar.update(len(chunk))
    return written


def _batch(
    model: PreTrainedModel, processor: ProcessorMixin, pairs: "Sequence[tuple[Image, str]]", max_new_tokens: int
) -> list[str]:
    texts = [
        str(processor.apply_chat_template(_message(question), add_generation_prompt=True)) for _, question in pairs
    ]
    images = [[image] for image, _ in pairs]
    inputs = processor(images=images, text=texts, return_tensors="pt", padding=True).to(model.device, model.dtype)
    generate: Any = model.generate  # a mixin method that torch's stubs take for a tensor
    with torch.no_grad():
        ids = generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]


def _message(question: str) -> Any:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
