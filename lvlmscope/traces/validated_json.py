"""JSON of files that others may have altered: a limit on its size, and a schema that names the first wrong field."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lvlmscope.errors import LvlmscopeError, message

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["MAX_JSON_BYTES", "STRICT", "json_digest", "read_json_object", "require_seal", "sealed", "validated"]

MAX_JSON_BYTES: Final = 32 * 2**20
STRICT: Final = {"extra": "forbid", "strict": True}
_SEAL: Final = "sha256"
Schema = TypeVar("Schema")


def read_json_object(path: Path, expected: str, error: type[LvlmscopeError]) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        expected: What it should be, for messages, such as "a file that Calibration.save wrote".
        error: Class of the errors raised.

    Returns:
        The object.

    Raises:
        LvlmscopeError: No such file, one that cannot be read, has more than 32 MiB, or holds no JSON object; of the
            class given.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            got = f"{path.name} of {path.stat().st_size:,} bytes"
            raise error(message(got, f"{expected}, of at most {MAX_JSON_BYTES:,} bytes", "check the path"))
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        if isinstance(cause, LvlmscopeError):
            raise
        raise error(message(" ".join(str(cause).split())[:200], expected, "check the path")) from cause
    if not isinstance(found, dict):
        raise error(message(f"{path.name}, which holds a {type(found).__name__}", expected, "check the path"))
    return found


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a checksum of themselves, for a file that only this package writes.

    Args:
        values: JSON values; anything else is written as its text.

    Returns:
        JSON values, as reading the file gives them.

    >>> require_seal(sealed({"parts": 3}), "a.json", "a file of ours", ValueError)
    >>> require_seal(sealed({"parts": 3}) | {"parts": 4}, "a.json", "a file of ours", ValueError)
    Traceback (most recent call last):
    ValueError: got a.json, which was changed after it was written; expected: a file of ours; write it again.
    """
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain | {_SEAL: json_digest(plain)}


def require_seal(values: Mapping[str, Any], name: str, expected: str, error: type[Exception]) -> None:
    """Refuses values that are not as `sealed` gave them: any field that was changed, lost or added.

    Args:
        values: The JSON values of a file.
        name: The file's, for messages.
        expected: What it should be, for messages.
        error: Class of the error raised.

    Raises:
        Exception: They differ; of the class given.
    """
    if values.get(_SEAL) != json_digest({key: value for key, value in values.items() if key != _SEAL}):
        raise error(message(f"{name}, which was changed after it was written", expected, "write it again"))


def json_digest(values: Any) -> str:
    """SHA-256 of JSON values, whatever the order of keys.

    Args:
        values: JSON values; anything else counts by its text.
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def validated(schema: type[Schema], values: dict[str, Any] | str, expected: str, error: type[LvlmscopeError]) -> Schema:
    """JSON values as a dataclass or a typed dictionary; unknown and missing fields and other types are refused.

    Args:
        schema: A dataclass or a `TypedDict` whose `__pydantic_config__` is `STRICT`, as that of all within it.
        values: The values, or their JSON text.
        expected: What they should be, for messages.
        error: Class of the errors raised.

    Returns:
        The instance; lists become tuples where the schema has tuples.

    Raises:
        LvlmscopeError: A wrong field, which is named; of the class given.
    """
    from pydantic import ValidationError  # takes its time to import

    kind: Any = schema  # a class is hashable, which mypy does not take a TypeVar's for
    try:
        found: Schema = _adapter(kind).validate_json(values if isinstance(values, str) else json.dumps(values))
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        got = f"a field {where} that is wrong: {first['msg']}"[:200]
        raise error(message(got, expected, "write it again with this version of lvlmscope")) from cause
    return found


@cache
def _adapter(schema: Any) -> "TypeAdapter[Any]":
    """Built once: it takes longer than reading a file with it."""
    from pydantic import TypeAdapter

    return TypeAdapter(schema)
