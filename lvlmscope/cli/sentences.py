"""Errors as sentences: what is printed of an error ends with a full stop, also what typer says of options."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer
from typer.core import TyperGroup

__all__ = ["SentenceGroup", "sentence"]

_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__bases__[0]  # click's own, which typer may bring with it


def sentence(text: object) -> str:
    r"""A text in one line that ends as a sentence does.

    >>> sentence("no such\n file")
    'no such file.'
    >>> sentence("did you mean --model?")
    'did you mean --model?'
    """
    line = " ".join(str(text).split())
    return line if line.endswith((".", "?", "!")) else f"{line}."


class SentenceGroup(TyperGroup):
    """Commands whose usage errors are printed as sentences."""

    def make_context(self, *given: Any, **options: Any) -> Any:
        """As typer does it.

        Args:
            *given: As typer gives them.
            **options: As typer gives them.

        Returns:
            The context.
        """
        with _as_sentences():
            return super().make_context(*given, **options)

    def invoke(self, ctx: Any) -> Any:
        """As typer does it.

        Args:
            ctx: The context.

        Returns:
            What the command returns.
        """
        with _as_sentences():
            return super().invoke(ctx)


@contextmanager
def _as_sentences() -> Iterator[None]:
    try:
        yield
    except _USAGE_ERROR as error:
        shown: Any = error
        text = sentence(shown.format_message())
        shown.format_message = lambda: text
        raise
