"""Which words of an answer a view marks: grounded, hallucinated and other words."""

from collections.abc import Iterable
from typing import Any

from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, marked_words

__all__ = ["kinds_of_words"]


def kinds_of_words(
    trace: Trace, words: tuple[Word, ...], *, hallucinated: Iterable[Any], grounded: Iterable[Any]
) -> list[str]:
    """`"grounded"`, `"hallucinated"` or `"other words"` for each word; hallucinated where a word is marked twice.

    Args:
        trace: Where the words come from.
        words: What `words_of` gave.
        hallucinated: Marks, as `marked_words` takes them.
        grounded: Likewise.

    Raises:
        ModelInputError: A mark that is not in the answer.
    """
    kinds = ["other words"] * len(words)
    for kind, marks in (("grounded", grounded), ("hallucinated", hallucinated)):
        for index in marked_words(trace, words, marks):
            kinds[index] = kind
    return kinds
