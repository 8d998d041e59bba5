"""Which words of an answer name an object, whether it is in the image, and which tokens wrote the word."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, get_args

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.chair import Vocabulary
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import steps_of, words_of

__all__ = ["LABELS", "Label", "LabelledWord", "label_words"]

Label = Literal["grounded", "hallucinated", "other"]
LABELS: Final[tuple[Label, ...]] = get_args(Label)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledWord:
    """A word of an answer and what is known of it.

    Attributes:
        text: The word as written; an object's name may be several words ("traffic lights").
        category: The object that it names, None for a word that names none.
        label: `"grounded"`: the object is in the image; `"hallucinated"`: it is not; `"other"`: the word names no
            object.
        start: Its first character in the answer.
        end: One past its last.
        steps: The steps whose tokens wrote any of it, ascending.
    """

    text: str
    category: str | None
    label: Label
    start: int
    end: int
    steps: tuple[int, ...]


@task("label words")
def label_words(trace: Trace, present: Collection[str], vocabulary: Vocabulary) -> tuple[LabelledWord, ...]:
    """Every word of the answer with its label, in order.

    Object words are those that CHAIR counts: synonyms and plurals stand for their category, the longest name wins.
    Repeated mentions are labelled each for itself.

    Args:
        trace: A trace.
        present: Categories in the image, in the vocabulary's words.
        vocabulary: Which words stand for which category.

    Returns:
        Words with the steps that wrote them; a token that wrote two words belongs to both.

    Raises:
        ModelInputError: No trace.
        EvaluationError: An object in the image that the vocabulary does not know.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> words = Vocabulary({"dog": ["word0"], "cat": ["word1"]})
    >>> [(word.text, word.label, word.steps) for word in label_words(planted_trace(), {"dog"}, words)]
    [('word0', 'grounded', (0,)), ('word1', 'hallucinated', (1,)), ('word2', 'other', (2,))]
    """
    trace = require_trace(trace)
    unknown = set(present) - set(vocabulary.categories)
    if unknown:
        expected = ", ".join(vocabulary.categories[:8]) + ", ..."
        got = f"unknown objects {sorted(unknown)}"
        raise EvaluationError(message(got, expected, "extend the vocabulary"))
    text = "".join(trace.answer_tokens)
    mentions = vocabulary.mentions(text)
    steps = steps_of(trace.answer_tokens, [(mention.start, mention.end) for mention in mentions])
    found = [
        LabelledWord(
            text=text[mention.start : mention.end],
            category=mention.category,
            label="grounded" if mention.category in present else "hallucinated",
            start=mention.start,
            end=mention.end,
            steps=wrote,
        )
        for mention, wrote in zip(mentions, steps, strict=True)
    ]
    others = [
        LabelledWord(text=word.text, category=None, label="other", start=word.start, end=word.end, steps=word.steps)
        for word in words_of(trace)
        if not any(word.start < named.end and word.end > named.start for named in found)
    ]
    return tuple(sorted(found + others, key=lambda word: word.start))
