"""Progress bars: on a terminal or in a notebook only, by one setting for the library and the command line."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from lvlmscope.errors import UnsupportedOptionError, message

__all__ = ["PROGRESS_SETTING", "bar", "bars_shown", "transformers_bars"]

PROGRESS_SETTING: Final = "LVLMSCOPE_PROGRESS"
_VALUES: Final = ("auto", "on", "off")


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
