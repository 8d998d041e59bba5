"""Conversations about images, each turn an item that is asked after the answers to the turns before it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.datasets.coco import CAPTION_TOKENS
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.datasets.record_files import Record
from lvlmscope.evaluation.datasets.tables import ANSWER_TOKENS, item_of, records_of
from lvlmscope.evaluation.metrics.answer_rows import is_yes
from lvlmscope.evaluation.metrics.chair import require_known
from lvlmscope.evaluation.metrics.coco import coco_vocabulary
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, require_vocabulary
from lvlmscope.interface.parameter_checks import checked

__all__ = ["TURNS", "has_turns", "read_conversations"]

TURNS: Final = "turns"
_QUESTIONS: Final = ("question", "text", "query")


@checked
@task("read conversations")
def read_conversations(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    metric: Literal["pope", "chair"] = "pope",
    vocabulary: Vocabulary | None = None,
) -> Dataset:
    """Several questions about each image, asked one after the other; the model sees its own earlier answers.

    Columns: `id`, `image` (or `file_name`) and `turns`, a list of objects with `question` (or `text`). For `"pope"`
    each turn has its `label`; for `"chair"` the row has the image's `objects`. The items' ids are those of the rows
    with `#1`, `#2`, ... and their kinds `turn 1`, `turn 2`, ..., so that tables tell the turns apart.

    Args:
        path: As for `read_table`.
        images: The folder of the images; None where the table holds them, or to score existing answers.
        metric: `"pope"`: each turn is a yes/no question; `"chair"`: each turn asks for a text in which objects count.
        vocabulary: For `"chair"`, which words name which object; `coco_vocabulary()` when None.

    Returns:
        The data set.

    Raises:
        EvaluationError: A file that is missing or of another form, a row without id, image or turns, a turn without a
            question or a label that is yes or no, an id given twice, an object that the vocabulary does not know, or an
            image that is not in the folder.
    """
    chair = metric == "chair"
    if vocabulary is not None and not chair:
        raise EvaluationError(message("a vocabulary for yes/no questions", "one for chair alone", "leave it out"))
    words = (coco_vocabulary() if vocabulary is None else require_vocabulary(vocabulary)) if chair else None
    found = records_of(path, f"an object with id, image and {TURNS}")
    items = tuple(item for record in found for item in _items(record, images, chair=chair))
    if words is not None:
        require_known([item.objects for item in items if item.objects], words)
    return Dataset(
        name=Path(path).stem,
        metric=metric,
        items=items,
        vocabulary=words,
        max_new_tokens=CAPTION_TOKENS if chair else ANSWER_TOKENS,
        source={"conversations": os.fspath(path)},
    )


def has_turns(path: str | os.PathLike[str]) -> bool:
    """Whether a table's first row has turns.

    Args:
        path: As for `read_table`.

    Raises:
        EvaluationError: A file that is missing or of another form.
    """
    first = next(iter(records_of(path, "an object")), None)
    return first is not None and first.get(TURNS) is not None


def _items(record: Record, images: str | os.PathLike[str] | None, *, chair: bool) -> Iterator[Item]:
    for number, turn in enumerate(_turns(record), start=1):
        place = f"{record.place}, turn {number}"
        told = Record({**turn, "id": f"{record.id('id')}#{number}"}, place)
        known: dict[str, Any] = {"objects": _objects(record)} if chair else {"label": _label(told)}
        yield item_of(
            Record({**record.values, **told.values}, place),
            images,
            question=told.text(*_QUESTIONS),
            kind=f"turn {number}",
            conversation=record.id("id"),
            turn=number,
            **known,
        )


def _turns(record: Record) -> Sequence[Mapping[str, Any]]:
    turns = record.get(TURNS)
    if isinstance(turns, list) and turns and all(isinstance(one, Mapping) for one in turns):
        return turns
    got = f"{record.place} with {TURNS}={turns!r}"[:120]
    raise EvaluationError(message(got, "a list of objects with a question each", "write one object for each turn"))


def _label(turn: Record) -> bool:
    if (found := turn.get("label")) is None:
        raise EvaluationError(message(f"{turn.place} without label", "a label in each turn", "add it"))
    return is_yes(found, turn.place)


def _objects(record: Record) -> tuple[str, ...]:
    names = record.get("objects")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        got = f"{record.place} with objects={names!r}"[:120]
        raise EvaluationError(message(got, "a list of objects", "write [] where there is none"))
    return tuple(sorted(set(names)))
