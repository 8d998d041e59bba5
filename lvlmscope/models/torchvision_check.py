"""A torchvision that is installed and cannot be imported; transformers takes any installed one for a working one."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from lvlmscope.errors import LvlmscopeError, UnsupportedModelError, first_line, message

__all__ = ["blame_torchvision", "require_working_torchvision"]

_IMPORT_ERRORS: Final = (ImportError, OSError, RuntimeError, AttributeError)  # of a torchvision built for another torch


def require_working_torchvision() -> None:
    """Refuse a torchvision that cannot be imported.

    Raises:
        UnsupportedModelError: It is installed, and importing it fails.
    """
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except _IMPORT_ERRORS as error:
        got = f"a torchvision that cannot be imported ({first_line(error)})"
        expected = f"no torchvision, or the one that was built for torch {version('torch')}"
        fix = "pip uninstall torchvision, or install the version that fits"
        raise UnsupportedModelError(message(got, expected, fix, task="import transformers")) from error


@contextmanager
def blame_torchvision() -> Iterator[None]:
    """Turns a failed import of transformers into an error about torchvision where that is the cause.

    Yields:
        Nothing.

    Raises:
        UnsupportedModelError: What is inside failed, and torchvision is installed and cannot be imported.
    """
    try:
        yield
    except LvlmscopeError:
        raise
    except _IMPORT_ERRORS:
        require_working_torchvision()
        raise
