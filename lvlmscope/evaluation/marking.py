"""Which words of an answer are true, which are made up, and which are not about objects."""

from collections.abc import Collection
from typing import Literal

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.chair import Vocabulary
from lvlmscope.record import Trace
from lvlmscope.wording import steps_of_span

__all__ = ["word_classes"]


def word_classes(
    trace: Trace, objects: Collection[str], vocabulary: Vocabulary
) -> dict[int, Literal["true", "made up", "other"]]:
    """The class of every step that writes an object word; steps of other words are left out.

    Args:
        trace: A trace of a picture whose objects are known.
        objects: Categories in the picture, in the vocabulary's words.
        vocabulary: Which words stand for which category.

    Returns:
        `"true"` or `"made up"` by step.

    Raises:
        EvaluationError: An object that the vocabulary does not know.
    """
    unknown = sorted(set(objects) - set(vocabulary.categories))
    if unknown:
        todo = "name the picture's objects in the vocabulary's words"
        raise EvaluationError(message("mark words", f"unknown objects {unknown}", "known categories", todo))
    classes: dict[int, Literal["true", "made up", "other"]] = {}
    for mention in vocabulary.mentions(trace.answer):
        for step in steps_of_span(trace, mention.start, mention.end):
            classes[step] = "true" if mention.category in objects else "made up"
    return classes
