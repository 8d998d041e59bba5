"""Lists of texts and labels as users give them: lists, arrays, columns of a table."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from lvlmscope.errors import EvaluationError, message

__all__ = ["is_yes", "label_rows", "object_rows", "require_paired", "text_rows"]


def _rows(given: Any, what: str, of: str) -> list[Any]:
    """The rows of a list, an array or a table's column; a text, a dictionary, a set or a table is refused."""
    unordered = isinstance(given, str | bytes | Mapping | set | frozenset)
    if unordered or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
        got = f"{type(given).__name__} {given!r}".split("\n", maxsplit=1)[0][:80]
        raise EvaluationError(message(f"{got} for {what}", f"a list of {of}", f"pass a list, one of {of} a row"))
    return list(given)


def text_rows(given: Any, what: str) -> list[str]:
    """Texts of a list, an array or a column.

    Args:
        given: What the caller passed.
        what: What it is, for the message.

    Raises:
        EvaluationError: No list, or a row that is no text.
    """
    rows = _rows(given, what, "texts")
    for number, row in enumerate(rows):
        if not isinstance(row, str):
            raise EvaluationError(message(f"{row!r} in row {number} of {what}", "a text", "give each row its text"))
    return [str(row) for row in rows]


def object_rows(given: Any, what: str) -> list[frozenset[str]]:
    """Sets of categories of a list, an array or a column.

    Args:
        given: What the caller passed.
        what: What it is, for the message.

    Raises:
        EvaluationError: No list, or a row that is no collection of texts.
    """
    rows = _rows(given, what, "collections of categories")
    for number, row in enumerate(rows):
        listed = isinstance(row, Collection | np.ndarray) and not isinstance(row, str | bytes | Mapping)
        if not listed or not all(isinstance(name, str) for name in row):
            got = f"{row!r} in row {number} of {what}"[:120]
            raise EvaluationError(message(got, "a collection of categories", "write {'dog', 'cat'} for each image"))
    return [frozenset(str(name) for name in row) for row in rows]


def label_rows(given: Any, what: str) -> np.ndarray:
    """Yes/no labels as booleans, bool [row].

    Args:
        given: What the caller passed: booleans, 0 and 1, or "yes" and "no" in any letter case.
        what: What it is, for the message.

    Raises:
        EvaluationError: No list, or a row that is neither yes nor no.

    Examples:
        >>> label_rows(["Yes", "no", 1, False], "truths").tolist()
        [True, False, True, False]
    """
    rows = _rows(given, what, "labels")
    return np.array([is_yes(row, f"row {number} of {what}") for number, row in enumerate(rows)], dtype=bool)


def is_yes(given: Any, place: str) -> bool:
    """One yes/no label as a boolean.

    Args:
        given: A boolean, 0 or 1, or "yes" or "no" in any letter case.
        place: Where it stands, for the message.

    Raises:
        EvaluationError: Neither yes nor no.

    >>> is_yes("No", "asked.jsonl, row 1")
    False
    """
    label = given.strip().lower() if isinstance(given, str) else given
    # a number other than 0 and 1, a missing value or another text is not read as anything
    if isinstance(label, str) and label in ("yes", "no"):
        return label == "yes"
    if isinstance(given, bool | int | float | np.bool_ | np.number) and given in (0, 1):
        return bool(given)
    expected, fix = "yes or no, 1 or 0, True or False", "give each question its label"
    raise EvaluationError(message(f"{given!r} in {place}", expected, fix))


def require_paired(**columns: Collection[Any]) -> None:
    """Refuses columns that are empty or of different lengths.

    Args:
        **columns: By what they hold, the first being what is scored.

    Raises:
        EvaluationError: No rows, or not as many in each.
    """
    lengths = {name.replace("_", " "): len(rows) for name, rows in columns.items()}
    if len(set(lengths.values())) == 1 and 0 not in lengths.values():
        return
    got = " and ".join(f"{count} {name}" for name, count in lengths.items())
    raise EvaluationError(message(got, "one or more rows, as many in each", "pair them up"))
