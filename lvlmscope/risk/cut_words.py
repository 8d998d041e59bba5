"""Causal evidence of a diagnosis: what each judged word loses when the image is cut off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from lvlmscope.causal.attention_knockout import knockout
from lvlmscope.causal.layer_windows import layer_windows
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.traces.requirements import decoder_depth
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word

__all__ = ["CutWord", "cut_words"]

_WIDTH: Final = 3  # layers of a window
_MENTIONED: Final = 0.1  # nats, below which a word is said to lose nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class CutWord:
    """A word and the log-probability it loses when no row of the model sees the image.

    Attributes:
        text: The word.
        steps: The steps that wrote it.
        lost: Nats lost with the image cut off in all layers.
        layers: The three neighbouring layers (at an end of the decoder two) in which it loses most.
        lost_there: Nats lost with the image cut off in these alone.
    """

    text: str
    steps: tuple[int, ...]
    lost: float
    layers: tuple[int, ...]
    lost_there: float

    def __str__(self) -> str:
        """One sentence.

        >>> print(CutWord(text="knife", steps=(4,), lost=2.5, layers=(3, 4, 5), lost_there=2.1))
        'knife' loses 2.5 nats without the image, 2.1 nats without it in layers 3-5 only
        """
        if self.lost < _MENTIONED and self.lost_there < _MENTIONED:
            return f"{self.text!r} loses nothing without the image ({self.lost:.2f} nats)"
        span = f"{self.layers[0]}-{self.layers[-1]}" if len(self.layers) > 1 else f"{self.layers[0]}"
        where = f"layer{'s' if len(self.layers) > 1 else ''} {span}"
        whole, part = f"{self.lost:.1f} nats without the image", f"{self.lost_there:.1f} nats without it"
        return f"{self.text!r} loses {whole}, {part} in {where} only"


def cut_words(trace: Trace, model: Any, words: Sequence[LabelledWord]) -> tuple[CutWord, ...]:
    """What each word loses, by `lvlmscope.knockout` of the image for all rows.

    Args:
        trace: A trace of all keys that holds its images, made without interventions.
        model: The model that made it.
        words: The judged words.

    Returns:
        One for each word.

    Raises:
        ModelInputError: A trace of some keys only or without its images, or interventions that are on.
        UnsupportedModelError: The model's image keys lie outside the decoder's sequence.
        ReplayError: The model does not give the trace's answer its log-probabilities.
    """
    if not words:
        return ()
    windows = layer_windows(_WIDTH, decoder_depth(trace), trace.layer_indices)
    chosen = [Word(text=word.text, start=word.start, end=word.end, steps=word.steps) for word in words]
    lost = knockout(model, trace, words=chosen, to="all", layers=[None, *windows]).values
    best = lost[1:].argmax(0)
    return tuple(
        CutWord(
            text=word.text,
            steps=word.steps,
            lost=float(lost[0, n]),
            layers=windows[best[n]],
            lost_there=float(lost[1 + best[n], n]),
        )
        for n, word in enumerate(words)
    )
