"""What tracing an example gave: a trace, or a record of why there is none; and the refusal of anything but traces."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lvlmscope.errors import ModelInputError, message
from lvlmscope.record import Trace

__all__ = ["FailedExample", "require_image", "require_trace", "require_traces"]

_NAMED: Final = 3
_KEEP: Final = "keep the others: [t for t in traces if isinstance(t, lv.Trace)], and their labels with them"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedExample:
    """An example that could not be traced.

    Attributes:
        index: Its place among the examples, 0-based.
        example: What was given.
        error: What was raised.
    """

    index: int
    example: Any = field(repr=False)
    error: Exception

    def __str__(self) -> str:
        """Place, kind of error and its text."""
        return f"example {self.index}: {type(self.error).__name__}: {self.error}"


def require_trace(given: Any, asked: str) -> Trace:
    """A trace as it is; a clear word about anything else.

    Args:
        given: What should be a trace.
        asked: What for.

    Returns:
        The trace.

    Raises:
        ModelInputError: A path, an example that failed, or something else.
    """
    if isinstance(given, Trace):
        return given
    received, todo = type(given).__name__, "pass what lv.trace or lv.load_trace returns"
    if isinstance(given, str | os.PathLike):
        received, todo = f"the text {os.fspath(given)!r}"[:80], f"pass lv.load_trace({os.fspath(given)!r}) for a file"
    elif isinstance(given, FailedExample):
        received, todo = f"one that failed ({given})", _KEEP
    raise ModelInputError(message(asked, received, "a trace", todo))


def require_traces(given: Iterable[Any], asked: str) -> Iterator[Trace]:
    """Traces as they come, up to the first that is none.

    Args:
        given: What should be traces; of a list all that failed are named.
        asked: What for.

    Yields:
        The traces.

    Raises:
        ModelInputError: One is none.
    """
    for one in given:
        if isinstance(one, FailedExample) and isinstance(given, Sequence):
            failed = [each for each in given if isinstance(each, FailedExample)]
            told = "; ".join(map(str, failed[:_NAMED])) + ("; ..." if len(failed) > _NAMED else "")
            received = f"{len(failed)} of {len(given)} that failed ({told})"
            raise ModelInputError(message(asked, received, "traces alone", _KEEP))
        yield require_trace(one, asked)


def require_image(trace: Trace, asked: str) -> None:
    """Refuse a trace without image keys.

    Args:
        trace: A trace.
        asked: What for.

    Raises:
        ModelInputError: There are none, or it is no trace.
    """
    if not bool(require_trace(trace, asked).image_keys.any()):
        received, todo = "a trace without image keys", "trace a prompt with an image"
        raise ModelInputError(message(asked, received, "traces of a picture", todo))
