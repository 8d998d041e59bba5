"""The length-matched control: plain captions cut to as many object mentions as an intervention's captions have."""

from collections.abc import Sequence

from lvlmscope.attention.option_checks import each_of, require_number
from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.metrics.answer_rows import text_rows
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, require_vocabulary
from lvlmscope.interface.parameter_checks import checked

__all__ = ["cut_to_mentions"]


@checked
def cut_to_mentions(plain: Sequence[str], counts: Sequence[int], words: Vocabulary) -> list[str]:
    """Captions cut so that each has at most a given number of object mentions.

    Fewer mentions alone lower every CHAIR figure, as the later objects of a caption are hallucinated more often. An
    intervention does more than shorten captions where its figures are better than those of plain captions that were cut
    to its own number of mentions, caption by caption. A caption is cut right before the first mention that is too
    many; one with no more mentions than that stays as it is.

    Args:
        plain: Captions without the intervention.
        counts: Number of mentions of each caption with it.
        words: Which words count as mentions.

    Returns:
        The captions, in order.

    Raises:
        EvaluationError: Another number of counts than of captions, no texts, or no `Vocabulary`.
        ModelInputError: Counts that are no numbers.

    >>> words = Vocabulary({"dog": ["dog"], "cat": ["cat"]})
    >>> cut_to_mentions(["A dog and a cat.", "A dog."], [1, 2], words)
    ['A dog and a', 'A dog.']
    """
    words = require_vocabulary(words)
    plain, counts = text_rows(plain, "plain"), list(each_of("counts", counts, "whole numbers"))
    for count in counts:
        require_number("counts", count)
    if len(plain) != len(counts):
        got = f"{len(plain)} captions and {len(counts)} counts"
        raise EvaluationError(message(got, "one count for each", "check the answers", task="cut captions"))
    return [_cut(text, count, words) for text, count in zip(plain, counts, strict=True)]


def _cut(text: str, count: int, words: Vocabulary) -> str:
    """Cuts again where the shorter text has a mention that the longer one hid (a seat without its toilet)."""
    while len(found := words.mentions(text)) > count:
        text = text[: found[count].start].rstrip()
    return text
