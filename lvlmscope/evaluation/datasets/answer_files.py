"""Answers that a model gave already, matched to the items of a data set by their ids."""

import os
from pathlib import Path
from typing import Final

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.datasets.items import Dataset
from lvlmscope.evaluation.datasets.record_files import Record, json_document, json_lines, read_file

__all__ = ["read_answers"]

_IDS: Final = ("id", "question_id", "image_id")
_TEXTS: Final = ("caption", "answer", "response", "text")
_EXPECTED: Final = "an object with id and caption"


@task("read answers")
def read_answers(path: str | os.PathLike[str], dataset: Dataset) -> list[str]:
    """One answer for each item, in the items' order.

    Args:
        path: A JSON list of objects, as COCO's results and AMBER's responses are, or JSON-lines. Each has an id
            (`id`, `question_id` or `image_id`) and a text (`caption`, `answer`, `response` or `text`); an empty text
            is an answer.
        dataset: The data set that was answered.

    Returns:
        The texts.

    Raises:
        EvaluationError: A file that is missing or of another form, an id that is unknown or given twice (with its
            row), or items without an answer.
    """
    require_kind("dataset", dataset, Dataset, "a Dataset (bundled_dataset and read_dataset give one)")
    known = {item.id for item in dataset.items}
    found: dict[str, Record] = {}
    for record in _records(path):
        key = record.id(*_IDS)
        if key not in known:
            expected = f"ids such as {dataset.items[0].id}"
            raise EvaluationError(message(f"{record.place} with the unknown id {key}", expected, "check both files"))
        if key in found:
            got = f"id {key} twice: {found[key].place} and {record.place}"
            raise EvaluationError(message(got, "every id once", "remove one"))
        found[key] = record
    if missing := [item for item in dataset.items if item.id not in found]:
        got = f"{len(missing)} of {len(dataset)} items without an answer, {missing[0].id} the first"
        raise EvaluationError(message(got, "one answer for each item", "complete the file, or sample the data set"))
    return [_text(found[item.id]) for item in dataset.items]


def _records(path: str | os.PathLike[str]) -> list[Record]:
    if read_file(path).lstrip()[:1] != "[":
        return json_lines(path, _EXPECTED)
    rows, name = json_document(path, f"a list, each {_EXPECTED}"), Path(path).name
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            got = f"{name}, record {number}, a {type(row).__name__}"
            raise EvaluationError(message(got, _EXPECTED, "check the file"))
    return [Record(row, f"{name}, record {number}") for number, row in enumerate(rows, start=1)]


def _text(record: Record) -> str:
    found = record.get(*_TEXTS)
    if not isinstance(found, str):
        got = f"{record.place} without a text as {', '.join(_TEXTS[:-1])} or {_TEXTS[-1]}"
        raise EvaluationError(message(got, "an answer", "add it to the row"))
    return found
