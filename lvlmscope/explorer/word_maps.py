"""Maps of a word over layers, heads and image tokens: attention, and saliency and relevance with gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import torch

from lvlmscope.attention.gradient_times_attention import head_saliency
from lvlmscope.errors import ModelInputError, message
from lvlmscope.explorer.image_panels import image_key_numbers
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_attention import mean_over_steps
from lvlmscope.traces.word_values import defined_mean
from lvlmscope.traces.words import Word, words_of

__all__ = ["QUANTITIES", "Quantity", "WordMaps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What a map shows.

    Attributes:
        name: As the page writes it.
        label: As the page lists it.
        unit: Of each value.
        over: How layers are taken together.
    """

    name: str
    label: str
    unit: str
    over: Literal["mean", "sum"] = "mean"


# Relevance: one layer's term of Chefer et al., arXiv 2103.15679, for ln p; added over layers, without the product of
# their layers, for which rows of the prompt would be needed. That sum is our own.
QUANTITIES: Final = {
    "attention": Quantity(name="attention on the image", label="attention", unit="share of 1"),
    "saliency": Quantity(name="saliency of the image, |a · dloss/da|", label="saliency", unit="nats"),
    "relevance": Quantity(
        name="relevance of the image, max(0, -a · dloss/da)",
        label="relevance, summed over layers",
        unit="nats",
        over="sum",
    ),
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
        return tuple(QUANTITIES)[:1] if self.trace.gradient is None else tuple(QUANTITIES)

    def of_word(self, name: str, word: int) -> np.ndarray:
        """A quantity on each image token, float32 ``[layer, head, cell]``.

        Args:
            name: A name of `QUANTITIES`.
            word: Number of the word, from 0.

        Raises:
            ModelInputError: No such word, or a quantity that the trace does not hold.
        """
        return self._at(name, word, self._image)

    def per_head(self, name: str, word: int) -> np.ndarray:
        """The sum of a quantity over the image tokens ``[layer, head]``.

        Args:
            name: As in `of_word`.
            word: Number of the word.
        """
        summed: np.ndarray = self.of_word(name, word).sum(-1)
        return summed

    def over_image(self, name: str, word: int, *, layers: Sequence[int], head: int | None) -> np.ndarray:
        """A quantity on each image token, averaged over the chosen heads, then taken together over layers ``[cell]``.

        Args:
            name: As in `of_word`.
            word: Number of the word.
            layers: Positions on the layer axis.
            head: One head, or None for all.

        Raises:
            ModelInputError: As `of_word`; or a layer or head that the trace does not have.
        """
        self._require(layers, head)
        return _over(name, _over_heads(self.of_word(name, word)[list(layers)], head))

    def over_answer(self, name: str, word: int, *, layers: Sequence[int], head: int | None) -> np.ndarray:
        """A quantity on each word of the answer, summed over the word's tokens, else as `over_image` ``[word]``.

        Tokens after the word are not seen and count 0; so does the word's last token, which no row of it has seen.

        Args:
            name: As in `of_word`.
            word: Number of the word.
            layers: Positions on the layer axis.
            head: One head, or None for all.

        Raises:
            ModelInputError: As `over_image`.
        """
        self._require(layers, head)
        return _over(name, self.answer_by_layer(name, word, head=head)[list(layers)])

    def answer_by_layer(self, name: str, word: int, *, head: int | None = None) -> np.ndarray:
        """A quantity on each word of the answer in every layer ``[layer, word]``.

        Args:
            name: As in `of_word`.
            word: Number of the word.
            head: One head, or None for the mean over all.

        Raises:
            ModelInputError: As `of_word`.
        """
        tokens = _over_heads(self._at(name, word, slice(self.trace.num_prompt_keys, None)), head)
        padded = np.pad(tokens, ((0, 0), (0, 1)))  # a last column of zeros, which stands for no token
        summed: np.ndarray = padded[:, self._places].sum(-1)
        return summed

    def on_cells(self, name: str, cells: Sequence[int], *, layers: Sequence[int], head: int | None) -> np.ndarray:
        """What each word has on some image tokens together, else as `over_image` ``[word]``.

        Args:
            name: As in `of_word`.
            cells: Numbers of image tokens, from 0.
            layers: Positions on the layer axis.
            head: One head, or None for all.

        Raises:
            ModelInputError: As `over_image`; or an image token that the trace does not have.
        """
        self._require(layers, head)
        if not cells or not set(cells) <= set(range(len(self.keys))):
            got = f"image tokens {list(cells)[:5]}"
            expected = f"some of 0 to {len(self.keys) - 1}"
            raise ModelInputError(message(got, expected, "choose among these", task="show words of patches"))
        keys = [self.keys[cell] for cell in cells]
        found = [self._at(name, word, keys)[list(layers)] for word in range(len(self.words))]
        return np.array([np.nansum(_over(name, _over_heads(each, head))) for each in found])

    @cached_property
    def _image(self) -> slice | list[int]:
        """The image keys, as a slice where they are one block: that is read without a copy."""
        first, count = (self.keys or [0])[0], len(self.keys)
        return slice(first, first + count) if self.keys == list(range(first, first + count)) else self.keys

    @cached_property
    def _places(self) -> np.ndarray:
        """Each word's places among the answer's keys ``[word, token]``; what has no key is at one after the last."""
        last = self.trace.num_steps - 1
        longest = max((len(word.steps) for word in self.words), default=0)
        found = np.full((len(self.words), longest), last)
        for number, word in enumerate(self.words):
            found[number, : len(word.steps)] = np.minimum(word.steps, last)
        return found

    def _at(self, name: str, word: int, keys: slice | list[int]) -> np.ndarray:
        if name not in self.names or not 0 <= word < len(self.words):
            got = f"{name!r} of word {word}"
            expected = f"{', '.join(self.names)}; words 0 to {len(self.words) - 1}"
            raise ModelInputError(message(got, expected, "choose among these", task="show a word"))
        return mean_over_steps(self._reader(name, keys), self.words[word].steps)

    def _reader(self, name: str, keys: slice | list[int]) -> Callable[[int], torch.Tensor]:
        trace = self.trace

        def at_step(step: int) -> torch.Tensor:
            weights = trace.attention[step][..., keys].float()
            if name == "attention":
                return weights
            assert trace.gradient is not None  # `names` lists the others only then
            slope = trace.gradient[step][..., keys].float()
            return head_saliency(weights, slope) if name == "saliency" else (-weights * slope).clamp_min(0)

        return at_step

    def _require(self, layers: Sequence[int], head: int | None) -> None:
        heads = [] if head is None else [head]
        inside = set(layers) <= set(range(self.trace.num_layers)) and set(heads) <= set(range(self.trace.num_heads))
        if not inside or not layers:
            got = f"layers {list(layers)}, head {head}"
            expected = f"positions 0 to {self.trace.num_layers - 1}, heads 0 to {self.trace.num_heads - 1}"
            raise ModelInputError(message(got, expected, "choose among these", task="show a map"))


def _over_heads(values: np.ndarray, head: int | None) -> np.ndarray:
    return defined_mean(values, 1) if head is None else values[:, head].astype(np.float64)


def _over(name: str, by_layer: np.ndarray) -> np.ndarray:
    """Layers taken together ``[...]``; undefined values are left out, NaN where there are no others."""
    mean = defined_mean(by_layer, 0)
    return mean * np.isfinite(by_layer).sum(0) if QUANTITIES[name].over == "sum" else mean
