"""The errors lvlmscope raises, each also one of Python's own, and the four-part message they share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

__all__ = [
    "CellError",
    "EvaluationError",
    "GeometryError",
    "ImageInputError",
    "InterventionError",
    "LvlmscopeError",
    "MemoryLimitError",
    "MissingExtraError",
    "ModelInputError",
    "OutputError",
    "PromptError",
    "ReplayError",
    "ShapeError",
    "TraceFileError",
    "TrainingDataError",
    "UnsupportedModelError",
    "UnsupportedOptionError",
    "describe",
    "first_line",
    "message",
    "task",
]

_TASK: Final[ContextVar[str]] = ContextVar("task", default="")


class LvlmscopeError(Exception):
    """Base of every error that lvlmscope raises on purpose."""


class ImageInputError(LvlmscopeError, ValueError):
    """The image is missing, unreadable, or of a kind or number that cannot be used."""


class OutputError(LvlmscopeError, OSError):
    """Results cannot be written where they were asked for."""


class PromptError(LvlmscopeError, ValueError):
    """The prompt or the given answer cannot be used."""


class MissingExtraError(LvlmscopeError, ImportError):
    """A part needs a package that is installed with one of lvlmscope's extras."""


class ModelInputError(LvlmscopeError, ValueError):
    """The model's prepared inputs, or an option of a call, do not fit together."""


class UnsupportedModelError(LvlmscopeError, TypeError):
    """The model is of a kind that cannot be traced, or lacks a part that is needed."""


class UnsupportedOptionError(LvlmscopeError, ValueError):
    """A generation option that cannot be traced faithfully."""


class MemoryLimitError(LvlmscopeError, MemoryError):
    """What was asked for takes more memory than was allowed."""


class ReplayError(LvlmscopeError, RuntimeError):
    """The replayed answer disagrees with what was generated: the rows would be of another computation."""


class InterventionError(LvlmscopeError, RuntimeError):
    """An intervention that is not registered, cannot be switched on, written or read, or that returned a wrong edit."""


class CellError(LvlmscopeError, ValueError):
    """A trained cell that cannot be read, or does not fit the model."""


class EvaluationError(LvlmscopeError, ValueError):
    """Answers, truths or options of an evaluation do not fit together."""


class GeometryError(LvlmscopeError, ValueError):
    """Which pixels a token covers is not known, and is not guessed."""


class ShapeError(LvlmscopeError, ValueError):
    """Tensors whose axes do not agree."""


class TraceFileError(LvlmscopeError, OSError):
    """A trace file that cannot be read or written."""


class TrainingDataError(LvlmscopeError, ValueError):
    """Training data that cannot be used; the message names the record."""


@contextmanager
def task(name: str) -> Iterator[None]:
    """Names what is being done, for the messages of all errors raised inside; a context manager and a decorator.

    The innermost name counts. Generator functions need it as a context manager around the code that raises: a
    decorated one is left before its body runs.

    Args:
        name: A phrase with a verb, such as "measure saliency".

    Yields:
        Nothing.

    Examples:
        >>> @task("count parts")
        ... def count(parts: int) -> str:
        ...     return message(f"{parts} parts", "1 part or more", "choose some")
        >>> count(0)
        'count parts: got 0 parts; expected: 1 part or more; choose some.'
    """
    token = _TASK.set(name)
    try:
        yield
    finally:
        _TASK.reset(token)


def message(got: str, expected: str, fix: str, *, task: str = "") -> str:
    """One line in four parts: what was being done, what came, what is accepted, what to do.

    Args:
        got: What was given or found.
        expected: What would be accepted.
        fix: The next step for the reader.
        task: What was being done; empty for the name that the innermost `task` block gives.

    Returns:
        One line of text.

    Examples:
        >>> message("none", "a PIL image", "pass image=", task="trace an image")
        'trace an image: got none; expected: a PIL image; pass image=.'
    """
    doing = task or _TASK.get()
    return f"{doing}{': ' if doing else ''}got {got}; expected: {expected}; {fix.rstrip('.')}."


def first_line(error: BaseException, most: int = 200) -> str:
    r"""The first line of another error's text that is not empty, cut to a length; its class name where there is none.

    Args:
        most: Characters at most.

    Returns:
        One line of text.

    Examples:
        >>> first_line(ImportError("\n needs torchvision\n"))
        'needs torchvision'
        >>> first_line(KeyError())
        'KeyError'
    """
    lines = (line.strip() for line in str(error).splitlines())
    text = next((line for line in lines if line), type(error).__name__)
    return text if len(text) <= most else text[: most - 1] + "…"


def describe(tensors: "Mapping[str, torch.Tensor | None]") -> str:
    """Every tensor's name, shape and dtype, for messages about shapes.

    Args:
        tensors: Tensors by name; None entries are listed as None.

    Returns:
        One line of text.

    Examples:
        >>> import torch
        >>> describe({"rows": torch.zeros(2, 3), "mask": None})
        'rows float32[2, 3], mask None'
    """
    parts = []
    for name, tensor in tensors.items():
        if tensor is None:
            parts.append(f"{name} None")
        else:
            parts.append(f"{name} {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}")
    return ", ".join(parts)
