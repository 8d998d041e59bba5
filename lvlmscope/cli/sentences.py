"""What typer prints: errors that end with a full stop, and help that is whole in narrow terminals."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer
from typer.core import TyperGroup

__all__ = ["SentenceGroup", "sentence"]

_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__bases__[0]  # click's own, which typer may bring with it

_BOXES_FROM: Final = 140  # columns of a terminal; in narrower ones typer's boxes cut the names of options


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
    """Commands whose usage errors are printed as sentences, and whose help has no boxes where they would be cut."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """As typer does it.

        Args:
            ctx: The context.
            cmd_name: Name of a command.

        Returns:
            The command; None when there is none of that name.
        """
        found: Any = super().get_command(ctx, cmd_name)
        if found is not None and _narrow():
            found.rich_markup_mode = None
            found.short_help = found.short_help or (found.help or "").split("\n\n")[0]  # else cut in lists of commands
        return found

    def make_context(self, *given: Any, **options: Any) -> Any:
        """As typer does it.

        Args:
            *given: As typer gives them.
            **options: As typer gives them.

        Returns:
            The context.
        """
        if _narrow():
            self.rich_markup_mode = None
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


def _narrow() -> bool:
    return shutil.get_terminal_size().columns < _BOXES_FROM


@contextmanager
def _as_sentences() -> Iterator[None]:
    try:
        yield
    except _USAGE_ERROR as error:
        shown: Any = error
        text = sentence(shown.format_message())
        shown.format_message = lambda: text
        raise
