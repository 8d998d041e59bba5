"""Progress bars: on a terminal or in a notebook only, by one setting for the library and the command line."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from lvlmscope.errors import UnsupportedOptionError, message

__all__ = ["PROGRESS_SETTING", "bar", "bars_shown", "listening", "tell", "transformers_bars"]

PROGRESS_SETTING: Final = "LVLMSCOPE_PROGRESS"
_VALUES: Final = ("auto", "on", "off")
_listener: ContextVar[Callable[[int, int | None], None] | None] = ContextVar("listener", default=None)


def bars_shown(shown: bool = True) -> bool:
    """Whether progress bars are drawn.

    Args:
        shown: False for a call with ``progress=False``, which draws none whatever the setting.

    Returns:
        By the environment variable ``LVLMSCOPE_PROGRESS``: "on", "off", or "auto" (without it too), which is on where
        standard error is a terminal, or in a notebook.

    Raises:
        UnsupportedOptionError: The variable has another value.
    """
    value = os.environ.get(PROGRESS_SETTING, "").strip().lower() or "auto"
    if value not in _VALUES:
        got = f"{PROGRESS_SETTING}={value!r}"[:200]
        raise UnsupportedOptionError(message(got, ", ".join(_VALUES), "set one of them", task="show progress"))
    if not shown or value == "off":
        return False
    return value == "on" or bool(sys.stderr and sys.stderr.isatty()) or _in_notebook()


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; IPython is looked for, not imported."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def bar(items: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> Any:
    """A bar of tqdm, in a notebook its widget.

    Args:
        items: What to go through; None for a bar that ``update`` advances.
        shown: As ``bars_shown`` takes it.
        **options: Of tqdm: total, desc, unit, delay, leave.

    Returns:
        The bar, which is also a context manager.
    """
    from tqdm.auto import tqdm

    return tqdm(items, disable=not bars_shown(shown), **options)


@contextmanager
def listening(listener: Callable[[int, int | None], None]) -> Iterator[None]:
    """Inside, in this thread, a listener hears of each token of an answer, whether a bar is drawn or not.

    Args:
        listener: Called with the tokens that are begun and how many there are at most; with None for these once the
            answer is written, when what follows is not counted.

    Yields:
        Nothing.
    """
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(done: int, total: int | None) -> None:
    """Tells who is listening how far an answer is; nobody where nobody is.

    Args:
        done: Tokens begun.
        total: How many at most; None once the answer is written.
    """
    listener = _listener.get()
    if listener is not None:
        listener(done, total)


@contextmanager
def transformers_bars() -> Iterator[None]:
    """Hides the bars of transformers where this package draws none, and restores the setting of transformers.

    Yields:
        Nothing.
    """
    from transformers.utils import logging

    silenced = logging.is_progress_bar_enabled() and not bars_shown()
    if silenced:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if silenced:
            logging.enable_progress_bar()
