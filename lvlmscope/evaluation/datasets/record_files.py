"""Reading annotation files: JSON, JSON-lines, with messages that name file and row."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvlmscope.errors import EvaluationError, first_line, message
from lvlmscope.interface.paths import path_of

__all__ = ["Record", "image_file", "json_document", "json_lines", "read_file", "usable_name"]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        values: Its fields.
        place: File and row, for messages.
    """

    values: Mapping[str, Any]
    place: str

    def get(self, *names: str) -> Any:
        """The first field of these names that is there and not null; None without any."""
        return next((self.values[name] for name in names if self.values.get(name) is not None), None)

    def text(self, *names: str) -> str:
        """A field that holds a text that is not empty.

        Args:
            *names: Names it may have.

        Raises:
            EvaluationError: No such field, or another type.
        """
        found = self.get(*names)
        if not isinstance(found, str) or not found.strip():
            raise EvaluationError(message(f"{self.place} with {_shown(found, names)}", "a text", "add it to the row"))
        return found

    def id(self, *names: str) -> str:
        """A field that holds a whole number or a text, as text.

        Args:
            *names: Names it may have.

        Raises:
            EvaluationError: No such field, or another type.
        """
        found = self.get(*names)
        if isinstance(found, bool) or not isinstance(found, int | str) or not str(found).strip():
            got = f"{self.place} with {_shown(found, names)}"
            raise EvaluationError(message(got, "a whole number or a text", "give each row its id"))
        return str(found)


def _shown(found: Any, names: tuple[str, ...]) -> str:
    return f"no field {' or '.join(map(repr, names))}" if found is None else f"{found!r} as {names[0]}"[:80]


def read_file(path: str | os.PathLike[str]) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        EvaluationError: No such file, or bytes that are not UTF-8, with their row.
    """
    file = path_of(path, EvaluationError)
    try:
        raw = file.read_bytes()
    except OSError as error:
        got = f"{file}: {error.strerror or error}"
        raise EvaluationError(message(got, "a file that can be read", "check the path")) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw[: error.start].count(b"\n") + 1
        got = f"{file.name}, row {row}: the byte 0x{raw[error.start]:02x}"
        raise EvaluationError(message(got, "a text in UTF-8", "convert the file to UTF-8")) from error


def json_document(
    path: str | os.PathLike[str], expected: str, *, keep: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """The one JSON value in a file.

    Args:
        expected: What it should hold, for messages.
        keep: What remains of each JSON object, as it is read: large fields need not be kept.

    Returns:
        The value.

    Raises:
        EvaluationError: No such file, no JSON (with its row), or JSON-lines.
    """
    text, name = read_file(path), Path(path).name
    try:
        return json.loads(text, object_hook=keep)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError
        if _is_json(text.lstrip().partition("\n")[0]) and "\n" in text.strip():
            got, fix = f"{name}, a file of JSON-lines", "pass the file that holds all of it as one JSON value"
            raise EvaluationError(message(got, f"{expected}, in JSON", fix)) from error
        where = f", row {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        where = f"{where}: {_reason(error)}"
        raise EvaluationError(message(f"{name}{where}", f"{expected}, in JSON", "check the file")) from error


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return error.msg if isinstance(error, json.JSONDecodeError) else first_line(error)


def json_lines(path: str | os.PathLike[str], expected: str) -> list[Record]:
    """The records of a file with one JSON object a line; empty lines are left out.

    Args:
        expected: What a line should hold, for messages.

    Returns:
        Records with their rows, counted from 1.

    Raises:
        EvaluationError: No such file, a row that is no JSON object, or one JSON value over several lines.
    """
    text, name = read_file(path), Path(path).name
    found: list[Record] = []
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would cut at signs that JSON allows in texts
        if not line.strip():
            continue
        place = f"{name}, row {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not found and _is_json(text):
                got, fix = f"{name}, which is one JSON value", "write it with one record a line"
                raise EvaluationError(message(got, f"JSON-lines: {expected}", fix)) from error
            raise EvaluationError(
                message(f"{place}: {_reason(error)}", f"{expected}, in JSON", "check the row")
            ) from error
        if not isinstance(values, dict):
            whole = isinstance(values, list) and not found
            got = f"{name}, which is one JSON value" if whole else f"{place}, a {type(values).__name__}"
            fix = "write it with one record a line" if whole else "check the row"
            raise EvaluationError(message(got, f"JSON-lines: {expected}", fix))
        found.append(Record(values, place))
    if not found:
        raise EvaluationError(message(f"{name} without a record", expected, "check the path"))
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def usable_name(name: str, place: str) -> str:
    """The name of a file that can be written into results.

    Args:
        name: The name, as the system or an annotation gives it.
        place: Where it was found, for messages.

    Raises:
        EvaluationError: It is not Unicode, so that no results could name it.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        got = f"the file name {os.fsencode(name)!r} in {place}"
        raise EvaluationError(message(got, "a name in UTF-8", "rename the file")) from error
    return name


def image_file(folder: str | os.PathLike[str] | None, name: str, place: str) -> Path | None:
    """The image of a row.

    Args:
        folder: Where the images lie; None for a data set without images.
        name: The image's name, with folders inside that one if there are any.
        place: File and row, for messages.

    Returns:
        The path, None without a folder.

    Raises:
        EvaluationError: No such image.
    """
    usable_name(name, place)
    if folder is None:
        return None
    home = path_of(folder, EvaluationError)
    path = home / name
    try:
        there = path.is_file()
    except OSError as error:  # a name that is too long
        got = f"{place}: {error.strerror}: {name[:60]!r}"
        raise EvaluationError(message(got, "the name of an image", "check the row")) from error
    if not there:
        got = f"{place}: no image {name!r} in {home}" if home.is_dir() else f"{home}, which is no folder"
        raise EvaluationError(message(got, "the folder that holds every image", "check images="))
    return path
