"""The words that maps are made for: which, what they are called, and their scores."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import ModelInputError, message
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, find_word, words_of

__all__ = ["Words", "chosen_words", "whole_once", "word_coordinates", "word_scores"]

_EXPECTED: Final = "words of the answer, or step numbers"
Words = str | int | Word | Sequence[str | int | Word] | None


def chosen_words(trace: Trace, words: Words) -> tuple[Word, ...]:
    """The words asked for.

    Args:
        trace: Where they were written.
        words: A word of the answer, a step's number, several of them, or None for all words.

    Returns:
        At least one word.

    Raises:
        ModelInputError: The answer has no such word or step, or none at all.
    """
    if words is None:
        found = words_of(trace)
    else:
        several = [words] if isinstance(words, str | int | Word) else each_of("words", words, _EXPECTED)
        found = tuple(find_word(trace, one) for one in several)
    if not found:
        raise ModelInputError(message("no words", _EXPECTED, "choose some"))
    return found


def word_coordinates(words: Sequence[Word]) -> dict[str, Any]:
    """Labels along the axis of words: their texts, and the first and last step that wrote each.

    Returns:
        What `xarray.DataArray(coords=...)` takes.
    """
    return {
        "word": np.array([word.text for word in words], dtype=object),
        "first_step": ("word", np.array([word.steps[0] for word in words])),
        "last_step": ("word", np.array([word.steps[-1] for word in words])),
    }


def word_scores(log_probs: torch.Tensor, words: Sequence[Word]) -> torch.Tensor:
    """Log-probability of each word, nats: the sum over its tokens, each given those before.

    Args:
        log_probs: `[..., step]`.

    Returns:
        `[..., word]`.

    >>> from lvlmscope.traces.words import Word
    >>> word_scores(torch.tensor([-1.0, -2.0, -4.0]), [Word(text="airplane", start=0, end=8, steps=(1, 2))])
    tensor([-6.])
    """
    return torch.stack([log_probs[..., list(word.steps)].sum(-1) for word in words], -1)


def whole_once(
    score: Callable[[torch.Tensor], torch.Tensor], whole: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A score of which parts are there that runs the whole image once only: captum asks for it again and again.

    Args:
        score: From presence `[variant, ...]`, 1 or 0, to scores `[variant, word]`.
        whole: Scores of the whole image `[1, word]`.

    Returns:
        The same function, but for that.
    """

    def remembered(presence: torch.Tensor) -> torch.Tensor:
        found = whole.repeat(len(presence), 1)
        changed = (presence != 1).flatten(1).any(1)
        if bool(changed.any()):
            found[changed.to(found.device)] = score(presence[changed])
        return found

    return remembered
