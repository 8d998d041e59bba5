"""What the page of a local server asks for: an answer about an image, and all that its explorer asks for."""

import json
import math
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from lvlmscope.capture.trace_one import trace
from lvlmscope.errors import LvlmscopeError, ModelInputError, first_line, message
from lvlmscope.explorer.requests import (
    RUN_ERRORS,
    Answer,
    LiveExplorer,
    ProgressListener,
    no_progress,
    sending_progress,
)
from lvlmscope.models.loaded_model import LoadedModel

__all__ = ["AppSession", "EndedError", "packed", "unpacked"]

_LENGTH: Final = struct.Struct("<I")  # before the JSON of a body
_KEPT: Final = 3  # answers that open pages may still show
_ASKED: Final = "ask a model"


class EndedError(LvlmscopeError):
    """The server has been ended, or nobody waits for a run any more."""


class AppSession:
    """A loaded model and the latest answers: everything that pages show, and one run at a time.

    Attributes:
        model: The loaded model.
        ended: Set to end a run at its next token.
    """

    def __init__(self, model: LoadedModel, *, gradients: bool = False) -> None:
        """Hold a model.

        Args:
            model: What `load` gave.
            gradients: Keep every token's gradient, for saliency.
        """
        self.model = model
        self.ended = threading.Event()
        self._kept: dict[str, Any] = {"gradients": gradients, "hidden_states": True}
        self._numbers = count()
        self._shown: deque[LiveExplorer] = deque(maxlen=_KEPT)
        self._one_run = threading.Lock()

    def answer(self, content: Any, image: bytes = b"", on_progress: ProgressListener = no_progress) -> Answer:
        """The answer to a request.

        Args:
            content: `id` and the kind `"ask"`, with `prompt` and `max_new_tokens`; or as for `LiveExplorer.answer`.
            image: The bytes of an image file, of one who asks.
            on_progress: Takes messages of how far an answer is, as `sending_progress` gives them.

        Returns:
            As for `LiveExplorer.answer`; to a question the `document` of its answer.
        """
        if not isinstance(content, dict):
            return {"id": None, "error": "a request is a JSON object"}, []
        if content.get("kind") not in ("ask", "run", "part"):  # these use the model, others read what is there
            return self._looked_at(content)
        with self._one_run:
            if content["kind"] != "ask":
                return self._looked_at(content, on_progress)
            try:
                shown = self._asked(content, image, on_progress)
                return {"id": content.get("id"), "document": shown}, []
            except RUN_ERRORS as error:
                return {"id": content.get("id"), "error": first_line(error, 1000)}, []

    @contextmanager
    def ending_runs(self) -> Iterator[None]:
        """Inside, a run ends at its next token once `ended` is set.

        Yields:
            Nothing.
        """
        hook = self.model.family.core(self.model.model).register_forward_hook(self._stop)
        try:
            yield
        finally:
            hook.remove()

    def _stop(self, *_: Any) -> None:
        if self.ended.is_set():
            raise EndedError("The server has been ended.")

    def _looked_at(self, content: dict[str, Any], on_progress: ProgressListener = no_progress) -> Answer:
        for each in tuple(self._shown):
            if each.shows(content.get("document")):
                return each.answer(content, on_progress)
        text = message("a request for an earlier answer", "one of the latest answers", "ask again", task="show a trace")
        return {"id": content.get("id"), "error": text}, []

    def _asked(self, content: dict[str, Any], image: bytes, on_progress: ProgressListener) -> dict[str, Any]:
        """Traces an answer; the image comes as bytes only, so that a page names no file or address to read."""
        prompt, length = content.get("prompt"), content.get("max_new_tokens")
        if not isinstance(prompt, str) or not isinstance(length, int) or isinstance(length, bool):
            got = f"a prompt of type {type(prompt).__name__}, max_new_tokens={length!r}"[:200]
            raise ModelInputError(message(got, "a text and a whole number", "write both", task=_ASKED))
        with sending_progress(content.get("id"), on_progress):
            traced = trace(self.model, image, prompt, max_new_tokens=length, progress=False, **self._kept)
        shown = LiveExplorer(traced, self.model, numbers=self._numbers)
        self._shown.append(shown)
        return shown.values


def _number(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text}, which is no number of JSON")
    return float(text)


def packed(content: dict[str, Any], buffers: Iterable[bytes] = ()) -> bytes:
    """A message as one body: the length of the JSON, the JSON, then the bytes of the buffers.

    >>> unpacked(packed({"id": 1}, [b"abc"]))
    ({'id': 1}, b'abc')
    """
    text = json.dumps(content, allow_nan=False).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *buffers])


def unpacked(body: bytes) -> tuple[Any, bytes]:
    """The JSON value and the bytes after it.

    Args:
        body: As `packed` makes it, for one message.

    Raises:
        ModelInputError: Something else.
    """
    try:
        (length,) = _LENGTH.unpack_from(body)
        end = _LENGTH.size + length
        if len(body) < end:
            raise ValueError(f"less than its {end:,}")
        return json.loads(body[_LENGTH.size : end], parse_constant=_number, parse_float=_number), body[end:]
    except (struct.error, ValueError, RecursionError) as error:
        got, expected = f"a body of {len(body):,} bytes ({first_line(error)})", "a length, JSON, and the image"
        raise ModelInputError(message(got, expected, "load the page again", task=_ASKED)) from error
