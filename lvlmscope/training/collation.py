"""From conversations to batches: the model's own chat template, and labels on what the assistant says only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import torch

from lvlmscope.errors import TrainingDataError, message
from lvlmscope.traces.image_identity import read_images
from lvlmscope.training.llava_instruct import Record

__all__ = ["IGNORED", "Collator", "Spoken", "speak"]

IGNORED: Final = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A conversation as the model reads it, before the image's placeholder is expanded.

    Attributes:
        text: The whole conversation in the chat template.
        ids: Its tokens.
        spans: Start and end among them of each answer, its end token included.
        stressed: Numbers of the tokens in answers that belong to emphasised words, or follow one: what comes after a
            named thing, another one or none, is the image's to decide as well.
    """

    text: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    stressed: frozenset[int] = frozenset()


def speak(record: Record, processor: Any, turns: int) -> Spoken:
    """A record's first turns in the chat template.

    Where the template ends an answer with no token of its own (LLaVA-1.5's), the tokenizer's end token is put after the
    last one, so that ending is learned too.

    Args:
        processor: A processor with a chat template.
        turns: How many turns of it.

    Returns:
        Text, tokens and answers' places.

    Raises:
        TrainingDataError: The template rewrites what was said before, so that answers cannot be found in it.
    """
    messages, texts = [], []
    for number, (question, answer) in enumerate(record.turns[:turns]):
        image = [{"type": "image"}] if number == 0 else []
        messages.append({"role": "user", "content": [*image, {"type": "text", "text": question}]})
        texts.append(processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        texts.append(processor.apply_chat_template(messages, tokenize=False))
    if not all(later.startswith(earlier) for earlier, later in pairwise(texts)):
        got, expected = "a chat template that rewrites earlier turns", "templates that only append"
        raise TrainingDataError(message(got, expected, "keep one turn a record", task=f"use {record.name}"))
    tokenizer = processor.tokenizer
    tail = texts[-1][len(texts[-2]) :]
    if tokenizer.eos_token and not any(token in tail for token in tokenizer.get_added_vocab()):
        texts[-1] = texts[-1].rstrip() + tokenizer.eos_token
    whole = tokenizer(texts[-1]).input_ids
    borders = [_shared(tokenizer(text).input_ids, whole) for text in texts]
    spans = tuple(zip(borders[::2], borders[1::2], strict=True))
    stressed = _stressed(tokenizer, texts[-1], record.emphasis) if record.emphasis else frozenset()
    return Spoken(text=texts[-1], ids=tuple(whole), spans=spans, stressed=stressed)


def _stressed(tokenizer: Any, text: str, words: Sequence[str]) -> frozenset[int]:
    """Tokens of these words, whole words in any letter case, and the token after each."""
    places = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    longest_first = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    found: set[int] = set()
    for match in re.finditer(rf"(?<!\w)(?:{longest_first})(?!\w)", text, re.IGNORECASE):
        inside = [n for n, (start, end) in enumerate(places) if start < match.end() and end > match.start()]
        found.update(inside, [inside[-1] + 1] if inside else [])
    return frozenset(found)


def _shared(part: Sequence[int], whole: Sequence[int]) -> int:
    """Length of the common beginning: a token may reach over the border between two turns."""
    pairs = enumerate(zip(part, whole, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(part), len(whole)))


class Collator:
    """Makes batches of records: model inputs as the processor gives them, and labels ``[batch, key]``."""

    def __init__(
        self,
        processor: Any,
        *,
        max_tokens: int = 2048,
        emphasis: float = 1.0,
        padding_side: Literal["left", "right"] = "right",
    ) -> None:
        """Hold the processor.

        Args:
            processor: A processor with a chat template and a tokenizer.
            max_tokens: Longest conversation, image tokens counted; later turns are left out until it fits.
            emphasis: Weight of the tokens that a record's emphasis stresses, against 1 for the others.
            padding_side: Where shorter conversations are padded; both give the same loss.
        """
        self._processor = processor
        self._max_tokens = max_tokens
        self._emphasis = emphasis
        self._side = padding_side

    def __call__(self, records: Sequence[Record]) -> dict[str, Any]:
        """One batch.

        Args:
            records: At least one record.

        Returns:
            Model inputs; labels, the tokens of the answers, -100 elsewhere; with an emphasis also their weights, of
            mean 1 over the batch's labels.

        Raises:
            ImageInputError: An image that cannot be read.
            TrainingDataError: A first turn longer than ``max_tokens``, or a processor whose tokens cannot be followed.
        """
        images = [list(read_images(record.image)) for record in records]
        turns = [len(record.turns) for record in records]
        while True:
            spoken = [speak(record, self._processor, count) for record, count in zip(records, turns, strict=True)]
            texts = [one.text for one in spoken]
            inputs = dict(
                self._processor(images=images, text=texts, return_tensors="pt", padding=True, padding_side=self._side)
            )
            lengths = inputs["attention_mask"].sum(-1).tolist()
            long = [number for number, length in enumerate(lengths) if length > self._max_tokens]
            if not long:
                labels, stressed = _labels(inputs, spoken, records)
                return inputs | {"labels": labels} | self._weights(labels, stressed)
            for number in long:
                if turns[number] == 1:
                    got, expected = f"{lengths[number]} tokens in the first turn", f"up to {self._max_tokens}"
                    fix = "raise --max-tokens, or leave the record out"
                    raise TrainingDataError(message(got, expected, fix, task=f"use {records[number].name}"))
                turns[number] -= 1

    def _weights(self, labels: torch.Tensor, stressed: torch.Tensor) -> dict[str, torch.Tensor]:
        if self._emphasis == 1:
            return {}
        weights = torch.where(stressed, self._emphasis, 1.0)
        return {"weights": weights / weights[labels != IGNORED].mean()}


def _labels(
    inputs: dict[str, Any], spoken: Sequence[Spoken], records: Sequence[Record]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels, and which of them have a higher weight, both ``[batch, key]``."""
    ids, labels = inputs["input_ids"], torch.full_like(inputs["input_ids"], IGNORED)
    stressed = torch.zeros_like(ids, dtype=torch.bool)
    for row, (one, record) in enumerate(zip(spoken, records, strict=True)):
        columns = inputs["attention_mask"][row].nonzero().flatten()
        offset = len(columns) - len(one.ids)  # what the image's placeholder became, all of it before the answers
        first = one.spans[0][0]
        if tuple(ids[row, columns[first + offset :]].tolist()) != one.ids[first:]:
            got, expected = "other tokens with the image than without", "images that change no later token"
            raise TrainingDataError(message(got, expected, "use another processor", task=f"use {record.name}"))
        for start, end in one.spans:
            where = columns[start + offset : end + offset]
            labels[row, where] = ids[row, where]
            stressed[row, where] = torch.tensor([n in one.stressed for n in range(start, end)])
    return labels, stressed
