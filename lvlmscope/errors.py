"""The errors lvlmscope raises, each also one of Python's own, and the four-part message they share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    "message",
]


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


def message(asked: str, received: str, possible: str, todo: str) -> str:
    """One line in four parts: what was asked, what came, what is possible, what to do.

    Args:
        asked: What the caller wanted.
        received: What was given or found instead.
        possible: What would be accepted.
        todo: The next step for the reader.

    Returns:
        One line of text.

    Examples:
        >>> message("trace an image", "none", "a PIL image", "pass image=")
        'trace an image: got none; possible: a PIL image; pass image=.'
    """
    return f"{asked}: got {received}; possible: {possible}; {todo.rstrip('.')}."


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
