"""Which words of an answer name an object, whether it is in the image, and which tokens wrote the word."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from lvlmscope.errors import task
from lvlmscope.evaluation.metrics.answer_rows import object_rows
from lvlmscope.evaluation.metrics.chair import require_known
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, require_vocabulary
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import steps_of, words_in

__all__ = ["LABELS", "Label", "LabelledWord", "label_words", "labels_in", "unlabelled_in", "unlabelled_words"]

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
        present: Categories in the image, in the vocabulary's words.
        vocabulary: Which words stand for which category.

    Returns:
        Words with the steps that wrote them; a token that wrote two words belongs to both.

    Raises:
        ModelInputError: No trace.
        EvaluationError: No `Vocabulary`, one text instead of a collection of objects, or an object in the image that
            the vocabulary does not know.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> words = Vocabulary({"dog": ["word0"], "cat": ["word1"]})
    >>> [(word.text, word.label, word.steps) for word in label_words(planted_trace(), {"dog"}, words)]
    [('word0', 'grounded', (0,)), ('word1', 'hallucinated', (1,)), ('word2', 'other', (2,))]
    """
    return labels_in(require_trace(trace).answer_tokens, present, vocabulary)


@task("label words")
def labels_in(pieces: Sequence[str], present: Collection[str], vocabulary: Vocabulary) -> tuple[LabelledWord, ...]:
    """As `label_words`, from the texts of an answer's tokens.

    Args:
        pieces: Text of each token; joined they are the answer.
        present: As in `label_words`.
        vocabulary: As in `label_words`.

    Returns:
        Words with their labels.

    Raises:
        EvaluationError: As in `label_words`.
    """
    words = require_vocabulary(vocabulary)
    (known,) = object_rows([present], "objects in the image")
    require_known([known], words)
    text = "".join(pieces)
    mentions = words.mentions(text)
    steps = steps_of(pieces, [(mention.start, mention.end) for mention in mentions])
    found = [
        LabelledWord(
            text=text[mention.start : mention.end],
            category=mention.category,
            label="grounded" if mention.is_present(known) else "hallucinated",
            start=mention.start,
            end=mention.end,
            steps=wrote,
        )
        for mention, wrote in zip(mentions, steps, strict=True)
    ]
    named = tuple(found)
    others = [word for word in unlabelled_in(pieces) if not any(_overlap(word, one) for one in named)]
    return tuple(sorted([*named, *others], key=lambda word: word.start))


def unlabelled_words(trace: Trace) -> tuple[LabelledWord, ...]:
    """Every word of the answer as one that names no object, for answers whose object words are not known.

    Returns:
        Words with the steps that wrote them.

    Raises:
        ModelInputError: No trace.
    """
    return unlabelled_in(require_trace(trace).answer_tokens)


def unlabelled_in(pieces: Sequence[str]) -> tuple[LabelledWord, ...]:
    """As `unlabelled_words`, from the texts of an answer's tokens.

    Args:
        pieces: Text of each token; joined they are the answer.

    Returns:
        Words with the steps that wrote them.
    """
    return tuple(
        LabelledWord(text=word.text, category=None, label="other", start=word.start, end=word.end, steps=word.steps)
        for word in words_in(pieces)
    )


def _overlap(one: LabelledWord, other: LabelledWord) -> bool:
    return one.start < other.end and one.end > other.start
