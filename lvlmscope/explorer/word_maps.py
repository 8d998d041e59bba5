"""Maps of a word over layers, heads and image tokens: attention, and saliency where there are gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

import numpy as np
import torch

from lvlmscope.attention.gradient_times_attention import head_saliency
from lvlmscope.errors import ModelInputError, message
from lvlmscope.explorer.image_panels import image_key_numbers
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_attention import mean_over_heads, mean_over_steps
from lvlmscope.traces.words import Word, words_of

__all__ = ["QUANTITIES", "WordMaps"]

# Name and unit of each
QUANTITIES: Final = {
    "attention": ("attention on the image", "share of 1"),
    "saliency": ("saliency of the image, |a · dloss/da|", "nats"),
}


@dataclass(frozen=True)
class WordMaps:
    """Exact maps of one trace, computed on request; a word's map is the mean over its tokens.

    Attributes:
        trace: The trace.
    """

    trace: Trace

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """The answer's words."""
        return words_of(self.trace)

    @cached_property
    def keys(self) -> list[int]:
        """Positions of the image keys: the last axis of every map."""
        return image_key_numbers(self.trace)

    @property
    def names(self) -> tuple[str, ...]:
        """The quantities that the trace holds."""
        return ("attention",) if self.trace.gradient is None else ("attention", "saliency")

    def of_word(self, name: str, word: int) -> np.ndarray:
        """A quantity on each image token, float32 ``[layer, head, cell]``.

        Args:
            name: "attention" or "saliency".
            word: Number of the word, from 0.

        Raises:
            ModelInputError: No such word, or a quantity that the trace does not hold.
        """
        if name not in self.names or not 0 <= word < len(self.words):
            got = f"{name!r} of word {word}"
            expected = f"{', '.join(self.names)}; words 0 to {len(self.words) - 1}"
            raise ModelInputError(message(got, expected, "choose among these", task="show a word"))
        return mean_over_steps(partial(self._at_step, name), self.words[word].steps)

    def per_head(self, name: str, word: int) -> np.ndarray:
        """The sum of a quantity over the image tokens ``[layer, head]``.

        Args:
            name: As in `of_word`.
            word: Number of the word.
        """
        summed: np.ndarray = self.of_word(name, word).sum(-1)
        return summed

    def over_image(self, name: str, word: int, *, layers: Sequence[int], head: int | None) -> np.ndarray:
        """A quantity on each image token, averaged over the chosen heads, then layers ``[cell]``.

        Args:
            name: As in `of_word`.
            word: Number of the word.
            layers: Positions on the layer axis.
            head: One head, or None for all.

        Raises:
            ModelInputError: As `of_word`; or a layer or head that the trace does not have.
        """
        heads = list(range(self.trace.num_heads)) if head is None else [head]
        inside = set(layers) <= set(range(self.trace.num_layers)) and set(heads) <= set(range(self.trace.num_heads))
        if not inside or not layers:
            got = f"layers {list(layers)}, head {head}"
            expected = f"positions 0 to {self.trace.num_layers - 1}, heads 0 to {self.trace.num_heads - 1}"
            raise ModelInputError(message(got, expected, "choose among these", task="show a map"))
        return mean_over_heads(self.of_word(name, word), layers=layers, heads=heads)

    def _at_step(self, name: str, step: int) -> torch.Tensor:
        weights = self.trace.attention[step][..., self.keys].float()
        if name == "saliency":
            assert self.trace.gradient is not None  # `names` lists it only then
            weights = head_saliency(weights, self.trace.gradient[step][..., self.keys].float())
        return weights
