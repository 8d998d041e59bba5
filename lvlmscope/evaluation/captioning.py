"""Answers to many (image, question) pairs with plain `generate`, in left-padded batches."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from lvlmscope.inputs.preparation import join, prepare
from lvlmscope.interface import progress
from lvlmscope.models.families import Family, family_of
from lvlmscope.models.loaded_model import unwrap
from lvlmscope.models.padded_batches import padding_reason

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Answers", "answers", "timed_answers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers and what they took.

    Attributes:
        texts: One for each pair, in order.
        tokens: Generated tokens of each, the one that ends the answer included.
        cut: Whether each was cut off by the limit of tokens.
        seconds: Time that `generate` took, for all together.
    """

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    cut: tuple[bool, ...]
    seconds: float

    @property
    def milliseconds_per_token(self) -> float:
        """Time of `generate` for each token that it wrote."""
        return 1000 * self.seconds / max(1, sum(self.tokens))


def answers(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    pairs: "Iterable[tuple[Image | Callable[[], Image], str]]",
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
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "description": description}
    return list(timed_answers(model, processor, pairs, **options).texts)


def timed_answers(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    pairs: "Iterable[tuple[Image | Callable[[], Image], str]]",
    *,
    max_new_tokens: int,
    batch_size: int = 50,
    description: str = "answers",
    **generation: Any,
) -> Answers:
    """As `answers`, with the number of tokens and the time.

    Args:
        model: Any image-text-to-text model.
        processor: Its processor.
        pairs: Images with their questions; instead of an image a function that opens it, called for its batch.
        max_new_tokens: The same for all.
        batch_size: Pairs in one `generate` call; 1 for a model to which padding gives other logits.
        description: Label of the progress bar.
        **generation: Other keywords of `generate`; greedy without `do_sample=True`.

    Returns:
        Texts, tokens and seconds.
    """
    inputs = list(pairs)
    family = family_of(model)
    batch_size = 1 if padding_reason(unwrap(model), family) else batch_size
    written: list[tuple[str, int, bool]] = []
    seconds = 0.0
    with progress.bar(total=len(inputs), desc=description, delay=2, leave=False) as bar:
        for start in range(0, len(inputs), batch_size):
            chunk = [
                (image() if callable(image) else image, text) for image, text in inputs[start : start + batch_size]
            ]
            answered, took = _batch(model, processor, family, chunk, {**generation, "max_new_tokens": max_new_tokens})
            written += answered
            seconds += took
            bar.update(len(chunk))
    texts, tokens, cut = (tuple(column) for column in zip(*written, strict=True)) if written else ((), (), ())
    return Answers(texts=texts, tokens=tokens, cut=cut, seconds=seconds)


def _batch(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    family: Family,
    pairs: "Sequence[tuple[Image, str]]",
    generation: dict[str, Any],
) -> tuple[list[tuple[str, int, bool]], float]:
    prepared = join([prepare(image, question, processor, family) for image, question in pairs], family)
    inputs = BatchFeature(prepared.inputs).to(model.device, model.dtype)
    generate: Any = model.generate  # a mixin method that torch's stubs take for a tensor
    started = time.perf_counter()
    with torch.no_grad():
        ids = generate(**inputs, **{"do_sample": False, **generation}).cpu()
    seconds = time.perf_counter() - started
    new = ids[:, inputs["input_ids"].shape[1] :]
    ends = torch.as_tensor(model.generation_config.eos_token_id or [], dtype=new.dtype).flatten()
    ended = torch.isin(new, ends)
    lengths = torch.where(ended.any(-1), ended.int().argmax(-1) + 1, new.shape[-1]).tolist()
    cut = (~ended.any(-1)).tolist()
    texts = [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
    return list(zip(texts, lengths, cut, strict=True)), seconds
