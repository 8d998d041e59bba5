"""LLaVA-Instruct JSON as published: read whole, and refused with the record's name where it cannot be used."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lvlmscope.errors import TrainingDataError, message
from lvlmscope.interface.parameter_checks import checked

__all__ = ["IMAGE_MARK", "Record", "read_records", "split_records"]

IMAGE_MARK: Final = "<image>"
_SHAPE: Final = '{"id", "image", "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}, ...]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image and a conversation about it.

    Attributes:
        name: Its id and number in the file, for messages.
        image: Image file.
        turns: Question and answer of each turn, without the mark of the image.
        emphasis: Words of the answers that the image decides; the optional key `emphasis`, which is ours.
    """

    name: str
    image: Path
    turns: tuple[tuple[str, str], ...]
    emphasis: tuple[str, ...] = ()


@checked
def read_records(data: Path, images: Path, *, skip: bool = False) -> tuple[list[Record], int]:
    """Records of a LLaVA-Instruct file, each with an image that is there.

    Args:
        data: JSON file: a list of ``{"id", "image", "conversations": [{"from": "human" | "gpt", "value"}, ...]}``, with
            ``<image>`` in the first human turn. A last question without an answer is left out.
        images: Folder that the ``image`` paths start from.
        skip: Leave records out that cannot be used, and count them, instead of raising.

    Returns:
        The records, at least one, and how many were left out.

    Raises:
        TrainingDataError: No such file, no JSON list, or a record that cannot be used, by its id and number.
    """
    doing, expected = f"read {data}", "a JSON list of LLaVA-Instruct records"
    try:
        loaded = json.loads(data.read_text())
    except (OSError, ValueError) as error:
        raise TrainingDataError(message(str(error), expected, "check --data", task=doing)) from error
    if not isinstance(loaded, list) or not loaded:
        got = "an empty list" if loaded == [] else f"a JSON {type(loaded).__name__}"
        raise TrainingDataError(message(got, expected, "check --data", task=doing))
    records, left_out = [], 0
    for number, raw in enumerate(loaded):
        try:
            records.append(_record(number, raw, images))
        except TrainingDataError:
            if not skip:
                raise
            left_out += 1
    if not records:
        raise TrainingDataError(message("no record that can be used", expected, "read it without skipping", task=doing))
    return records, left_out


def _record(number: int, raw: Any, images: Path) -> Record:
    if not isinstance(raw, dict):
        raise _refused(f"record {number}", f"a {type(raw).__name__}", "make each record an object")
    name = f"record {number} (id {raw.get('id', 'none')!r})"
    missing = [key for key in ("image", "conversations") if key not in raw]
    if missing:
        got = f"keys {sorted(map(str, raw))} without {' and '.join(missing)}"
        raise _refused(name, got, "add what is missing, or leave the record out")
    path = images / str(raw["image"])
    if not path.is_file():
        raise _refused(name, f"no image {path}", "check --images")
    words = raw.get("emphasis", [])
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise _refused(name, f"emphasis {words!r}"[:120], "make emphasis a list of words, or leave it out")
    return Record(name=name, image=path, turns=_turns(name, raw["conversations"]), emphasis=tuple(words))


def _turns(name: str, conversation: Any) -> tuple[tuple[str, str], ...]:
    said = [_said(name, part) for part in conversation] if isinstance(conversation, list) else []
    if not any(speaker == "gpt" for speaker, _ in said):
        raise _refused(name, "no assistant turn", "add a turn from 'gpt'")
    if [speaker for speaker, _ in said] != ["human", "gpt"] * (len(said) // 2) + ["human"] * (len(said) % 2):
        got = f"turns from {', '.join(speaker for speaker, _ in said)}"
        raise _refused(name, got, "let 'human' and 'gpt' take turns, 'human' first")
    marks = [text.count(IMAGE_MARK) for _, text in said]
    if marks[0] != 1 or sum(marks) != 1:
        got = f"{sum(marks)} of {IMAGE_MARK}, {marks[0]} of them in the first turn"
        raise _refused(name, got, f"put {IMAGE_MARK} into the first human turn, once")
    texts = [text.replace(IMAGE_MARK, "").strip() for _, text in said]
    if not all(texts):
        raise _refused(name, "an empty turn", "leave no value empty")
    return tuple(zip(texts[::2], texts[1::2], strict=False))  # a last question without an answer is left out


def _said(name: str, part: Any) -> tuple[str, str]:
    known = isinstance(part, dict) and part.get("from") in {"human", "gpt"} and isinstance(part.get("value"), str)
    if not known:
        raise _refused(name, f"a turn {part!r}"[:120], "write {'from': 'human' or 'gpt', 'value': text}")
    return part["from"], part["value"]


def _refused(name: str, got: str, fix: str) -> TrainingDataError:
    return TrainingDataError(message(got, _SHAPE, fix, task=f"use {name}"))


def split_records(records: Sequence[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Training and validation records, drawn once from a seed.

    Args:
        records: All of them.
        share: Share for validation, in [0, 1); 0 gives none, more gives at least one.
        seed: Seed of the draw.

    Returns:
        Training records and validation records, each in the file's order.

    Raises:
        TrainingDataError: Nothing is left to train on.
    """
    import numpy as np

    count = min(max(1, round(share * len(records))), len(records)) if share else 0
    if count >= len(records):
        got, expected = f"{count} of {len(records)} records for validation", "at least one record to train on"
        raise TrainingDataError(message(got, expected, "lower --validation", task="split the records"))
    held = set(np.random.default_rng(seed).permutation(len(records))[:count].tolist())
    kept = [one for number, one in enumerate(records) if number not in held]
    return kept, [one for number, one in enumerate(records) if number in held]
