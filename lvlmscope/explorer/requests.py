"""What a page asks for while it is looked at, and the answers: maps, later parts; of a live page also runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch

from lvlmscope.errors import LvlmscopeError, ModelInputError, first_line, message
from lvlmscope.explorer.document import Document, describe_document
from lvlmscope.explorer.intervention_controls import intervention_controls, made_stack
from lvlmscope.explorer.live_trace import trace_again
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.interface.progress import listening
from lvlmscope.traces.trace import Trace

__all__ = [
    "RUN_ERRORS",
    "Answer",
    "LiveExplorer",
    "ProgressListener",
    "answer_request",
    "no_progress",
    "sending_progress",
]

Answer = tuple[dict[str, Any], list[bytes]]
ProgressListener = Callable[[dict[str, Any]], None]  # takes messages that come before an answer
_SECONDS: Final = 0.1  # between two of them
RUN_ERRORS: Final = (LvlmscopeError, MemoryError, torch.OutOfMemoryError, LookupError, TypeError)


def answer_request(made: Document, content: Any) -> Answer:
    """The answer to a request for something that a document leaves out.

    Args:
        made: What is shown.
        content: `id`, `kind` and `side`; for a `"part"` its name; else `quantity` and `word`, for a `"map"` and
            `"links"` also `low`, `high` and `head`, and for `"looked"` these and `cells` instead of a word.

    Returns:
        The message, with an `error` when the request cannot be met, and float32 values, little-endian.
    """
    number = content.get("id") if isinstance(content, dict) else None
    try:
        if content["kind"] == "part":
            return {"id": number, "part": made.parts.part(content["side"], content["part"])}, []
        values = _values(made.word_maps[content["side"]], content)
    except (LvlmscopeError, LookupError, TypeError) as error:
        return {"id": number, "error": f"{type(error).__name__}: {error}"}, []
    return {"id": number}, [np.ascontiguousarray(values, dtype="<f4").tobytes()]


def no_progress(_: dict[str, Any]) -> None:
    """A listener that does nothing with the messages."""


@contextmanager
def sending_progress(number: Any, on_progress: ProgressListener) -> Iterator[None]:
    """Inside, messages say how far an answer's tokens are: `progress`, the tokens begun and how many at most.

    Args:
        number: The `id` of the request.
        on_progress: Takes the messages, some a second; in the last one there is None for how many.

    Yields:
        Nothing.
    """
    latest = -_SECONDS

    def heard(done: int, total: int | None) -> None:
        nonlocal latest
        now = time.monotonic()
        if total is None or now - latest >= _SECONDS:
            latest = now
            on_progress({"id": number, "progress": [done, total]})

    with listening(heard):
        yield


class LiveExplorer:
    """A trace with its model: what a page shows of it, and second traces under the interventions that it asks for.

    Attributes:
        trace: The first trace.
        model: What made it.
        values: What the page begins with.
        latest: The latest second trace; None before a run.
    """

    def __init__(
        self,
        trace: Trace,
        model: Any,
        *,
        other: Trace | None = None,
        numbers: Iterator[int] | None = None,
        describe: Callable[..., Document] = describe_document,
    ) -> None:
        """Describe the first page.

        Args:
            trace: The first trace.
            model: What made it.
            other: A second one that was made before.
            numbers: Gives each document a number of its own; those from 0 when None.
            describe: Makes the document of one trace or of two; `describe_document` with further options.
        """
        self.trace, self.model, self.latest = trace, model, other
        self._numbers, self._describe = count() if numbers is None else numbers, describe
        made = describe(trace, other, model=model)
        self._first = next(self._numbers)
        self._documents = {self._first: made}
        self.values = made.values | {"live": {"document": self._first, "interventions": intervention_controls()}}

    def shows(self, number: Any) -> bool:
        """Whether a document of that number is the first one or the latest."""
        return type(number) is int and number in self._documents

    def answer(self, content: Any, on_progress: ProgressListener = no_progress) -> Answer:
        """The answer to a request of the page.

        Args:
            content: As for `answer_request`, with the number of its `document`; or `id`, the kind `"run"` and a
                `stack`, as `made_stack` takes it; or the kind `"file"` and a `side`.
            on_progress: Takes messages of how far a run is, as `sending_progress` gives them.

        Returns:
            As for `answer_request`; to a run the `document` of both traces, or an `error` of one sentence; to a file
            the bytes of that trace as `Trace.save` writes it.
        """
        if isinstance(content, dict) and content.get("kind") == "run":
            try:
                shown = self.run(content.get("stack"), number=content.get("id"), on_progress=on_progress)
                return {"id": content.get("id"), "document": shown}, []
            except RUN_ERRORS as error:
                return {"id": content.get("id"), "error": first_line(error, 1000)}, []
        number = content.get("document", self._first) if isinstance(content, dict) else self._first
        if not self.shows(number):
            got, fix = "a request for an earlier run", "run it again"
            text = message(got, "the first answer or the latest run", fix, task="show a trace")
            return {"id": content.get("id"), "error": text}, []
        if isinstance(content, dict) and content.get("kind") == "file":
            return self._file(content.get("id"), content.get("side"))
        return answer_request(self._documents[number], content)

    def _file(self, number: Any, side: Any) -> Answer:
        shown = {0: self.trace, 1: self.latest}.get(side) if type(side) is int else None
        if shown is None:
            text = message(
                f"answer {side!r}"[:80], "one that is shown", "run an intervention first", task="save a trace"
            )
            return {"id": number, "error": text}, []
        with TemporaryDirectory() as folder:
            file = Path(folder) / "trace.safetensors"
            shown.save(file)
            return {"id": number}, [file.read_bytes()]

    def run(self, stack: Any, *, number: Any = None, on_progress: ProgressListener = no_progress) -> dict[str, Any]:
        """Traces again under interventions and shows both.

        Args:
            stack: As `made_stack` takes it.
            number: The `id` of the request.
            on_progress: As for `answer`.

        Returns:
            The values of the document of both traces.

        Raises:
            LvlmscopeError: As for `made_stack` and `trace_again`.
        """
        with sending_progress(number, on_progress):
            after = trace_again(self.trace, self.model, made_stack(stack))
        made = self._describe(self.trace, after, model=self.model)
        document = next(self._numbers)
        self._documents = {self._first: self._documents[self._first], document: made}
        self.latest = after
        return made.values | {"live": {"document": document}}


def _values(word_maps: WordMaps, content: dict[str, Any]) -> np.ndarray:
    kind, name = content["kind"], content["quantity"]
    if kind == "heat":
        return word_maps.per_head(name, content["word"])
    if kind == "grid":
        return word_maps.of_word(name, content["word"])
    low, high, depth = content["low"], content["high"], word_maps.trace.num_layers
    if type(low) is not int or type(high) is not int or not 0 <= low <= high < depth:
        got = f"layers {low!r:.40} to {high!r:.40}"
        raise ModelInputError(message(got, f"positions 0 to {depth - 1}", "choose among these", task="show a map"))
    chosen = {"layers": range(low, high + 1), "head": content["head"]}
    if kind == "looked":
        return word_maps.on_cells(name, content["cells"], **chosen)
    if kind == "links":
        return word_maps.over_answer(name, content["word"], **chosen)
    if kind == "map":
        return word_maps.over_image(name, content["word"], **chosen)
    raise LookupError(f"no request of kind {kind!r}")
