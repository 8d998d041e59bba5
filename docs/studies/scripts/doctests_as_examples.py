"""A griffe extension: doctests that close a docstring without a heading are shown as examples, not as quotations."""

from typing import Any

import griffe

_PROMPT = ">>> "


class DoctestsAsExamples(griffe.Extension):
    """Puts a paragraph that starts with a prompt under the heading that the Google style gives it."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002 - griffe passes more
        """Rewrite an object's docstring before it is parsed.

        Args:
            obj: What was loaded.
            kwargs: What else griffe passes.
        """
        if obj.docstring is not None:
            obj.docstring.value = with_headings(obj.docstring.value)


def with_headings(text: str) -> str:
    """A docstring whose bare doctests stand under `Examples:`.

    Args:
        text: A docstring without its indentation.

    Returns:
        The same; text without bare doctests is returned as it is.
    """
    shown: list[str] = []
    inside = False
    for paragraph in text.split("\n\n"):
        bare = paragraph.startswith(_PROMPT)
        heading = "Examples:\n" if bare and not inside else ""
        shown.append(heading + _indented(paragraph) if bare else paragraph)
        inside = bare
    return "\n\n".join(shown)


def _indented(paragraph: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in paragraph.split("\n"))
