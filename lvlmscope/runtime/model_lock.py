"""One lock for each model: what follows its forwards does so for one thread at a time."""

import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any, Final

import torch

__all__ = ["model_lock"]

_LOCKS: "Final[weakref.WeakKeyDictionary[torch.nn.Module, AbstractContextManager[Any]]]" = weakref.WeakKeyDictionary()
_ACCESS: Final = threading.Lock()


def model_lock(model: torch.nn.Module) -> AbstractContextManager[Any]:
    """The lock of a model; the thread that holds it may take it again.

    Returns:
        A lock.
    """
    with _ACCESS:
        return _LOCKS.setdefault(model, threading.RLock())
