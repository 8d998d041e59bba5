"""An answer with its signals and without attention rows: what is left where rows are reduced as they arise."""

from dataclasses import dataclass, field
from typing import Any

import torch
import xarray as xr

from lvlmscope.errors import ShapeError, message
from lvlmscope.traces.words import Word, words_in

__all__ = ["SignalTrace"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalTrace:
    """The words of one answer and the signals at each of its tokens.

    Attributes:
        signals: One variable for each signal, dims (step, layer) or (step), float32; heads are averaged over. Layers
            that a signal does not have are NaN.
        answer_ids: int64 ``[step]``.
        answer_tokens: Text of each token; joined they are ``answer``.
        answer: The answer's text.
        prompt: The prompt as given.
        provenance: As in a ``Trace``.
        effects: As in a ``Trace``.

    Raises:
        ShapeError: Numbers of steps that differ.
    """

    signals: xr.Dataset = field(repr=False)
    answer_ids: torch.Tensor = field(repr=False)
    answer_tokens: tuple[str, ...] = field(repr=False)
    answer: str
    prompt: str
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    effects: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Check that all steps agree."""
        counts = (self.signals.sizes["step"], len(self.answer_ids), len(self.answer_tokens))
        if len(set(counts)) > 1:
            got = f"{counts[0]} steps of signals, {counts[1]} ids and {counts[2]} texts"
            raise ShapeError(message(got, "as many of each", "check how they were made", task="make a signal trace"))

    @property
    def num_steps(self) -> int:
        """N: number of answer tokens."""
        return len(self.answer_tokens)

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers on the layer axis; none where no signal has layers."""
        return tuple(self.signals["layer"].values.tolist()) if "layer" in self.signals.dims else ()

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of the answer, in order, with the steps that wrote them."""
        return words_in(self.answer_tokens)
