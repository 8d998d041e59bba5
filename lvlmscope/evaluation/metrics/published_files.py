"""Reading the published files of AMBER."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.answer_rows import is_yes
from lvlmscope.evaluation.metrics.synonym_files import read_text
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of

__all__ = ["Amber", "AmberQuery", "amber_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AmberQuery:
    """A query of AMBER with its annotation.

    Attributes:
        number: Its id.
        kind: "generative", or the type of a yes/no question ("discriminative-hallucination", ...).
        image: Name of the image's file.
        text: What is asked.
        objects: Objects annotated in the image of a generative query.
        expected: Objects annotated as wrongly expected there.
        truth: The right answer of a yes/no question; None for a generative query.
    """

    number: int
    kind: str
    image: str
    text: str
    objects: tuple[str, ...]
    expected: tuple[str, ...]
    truth: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amber:
    """AMBER's published data without the images.

    Attributes:
        queries: All queries that the file of queries holds, in its order.
        relations: Words related to each object.
        safe_words: Words that are never hallucinated.
    """

    queries: tuple[AmberQuery, ...]
    relations: dict[str, tuple[str, ...]]
    safe_words: tuple[str, ...]

    @property
    def vocabulary(self) -> Vocabulary:
        """Each object with its related words; a word that is related to several objects stands for all of them."""
        return Vocabulary({name: (name, *related) for name, related in self.relations.items()}, shared="all")

    @property
    def generative(self) -> tuple[AmberQuery, ...]:
        """Queries for a description."""
        return tuple(query for query in self.queries if query.truth is None)

    @property
    def discriminative(self) -> tuple[AmberQuery, ...]:
        """Yes/no questions."""
        return tuple(query for query in self.queries if query.truth is not None)


@checked
@task("read AMBER's files")
def amber_files(folder: str | os.PathLike[str], queries: str = "query_all.json") -> Amber:
    """AMBER's annotations, relations, safe words and queries.

    Args:
        folder: Where `annotations.json`, `relation.json`, `safe_words.txt` and the file of queries lie.
        queries: Which file of queries: `"query_all.json"`, `"query_generative.json"`, ...

    Returns:
        The data.

    Raises:
        EvaluationError: A file that is missing or of another form, or a query without an annotation.
    """
    home = path_of(folder, EvaluationError)
    relations = _parsed(read_text(home / "relation.json"), "relation.json")
    if not isinstance(relations, dict) or not all(_is_texts(words) for words in relations.values()):
        raise EvaluationError(message("another form of relation.json", "words with lists of words", "check the folder"))
    annotations = {one["id"]: one for one in _records(home / "annotations.json", id=int, type=str)}
    found = _records(home / queries, id=int, image=str, query=str)
    return Amber(
        queries=tuple(_query(one, annotations) for one in found),
        relations={name: tuple(words) for name, words in relations.items()},
        safe_words=tuple(filter(None, map(str.strip, read_text(home / "safe_words.txt").splitlines()))),
    )


def _query(query: Mapping[str, Any], annotations: Mapping[int, Mapping[str, Any]]) -> AmberQuery:
    number = query["id"]
    if number not in annotations:
        raise EvaluationError(message(f"query {number} without annotation", "one for each query", "check the folder"))
    record = annotations[number]
    common = {"number": number, "kind": record["type"], "image": query["image"], "text": query["query"]}
    truth, expected = record.get("truth"), record.get("hallu", [])
    if record["type"] == "generative":
        if not (_is_texts(truth) and _is_texts(expected)):
            got = f"annotation {number} without lists of objects"
            raise EvaluationError(message(got, "truth and hallu as lists", "check the folder"))
        return AmberQuery(**common, objects=tuple(truth), expected=tuple(expected), truth=None)
    label = is_yes(truth, f"annotation {number} of annotations.json")
    return AmberQuery(**common, objects=(), expected=(), truth=label)


def _records(path: Path, **types: Any) -> Iterator[dict[str, Any]]:
    records = _parsed(read_text(path), path.name)
    if not isinstance(records, list):
        raise EvaluationError(message(f"another form of {path.name}", "a list of records", "check the folder"))
    return (_record(one, f"record {number} of {path.name}", **types) for number, one in enumerate(records))


def _record(record: Any, where: str, **types: Any) -> dict[str, Any]:
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in types.items()):
        got = f"{where}: {json.dumps(record)}"[:120]
        raise EvaluationError(message(got, f"a record with {', '.join(types)}", "check the file"))
    return record


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise EvaluationError(message(f"{where}: {error}", "JSON", "check the file")) from error


def _is_texts(given: Any) -> TypeGuard[list[str]]:
    return isinstance(given, list) and all(isinstance(one, str) for one in given)
