"""An answer with its signals and without attention rows: what is left where rows are reduced as they arise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr

from lvlmscope.errors import ShapeError, message
from lvlmscope.traces.answer_spans import Span, recorded_spans
from lvlmscope.traces.words import Word, words_in

__all__ = ["SignalTrace"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalTrace:
    """The words of one answer and the signals at each of its tokens.

    Attributes:
        values: By the signal's name, float32 ``[step, layer]`` on the layers below, or ``[step]``; heads are averaged
            over. Layers that a signal does not have are NaN.
        layers: Numbers of the layers on the layer axis; none where no signal has layers.
        answer_ids: int64 ``[step]``.
        answer_tokens: Text of each token; joined they are ``answer``.
        answer: The answer's text.
        prompt: The prompt as given.
        about: By the signal's name, its unit, bounds, long name and reference.
        provenance: As in a ``Trace``.
        effects: As in a ``Trace``.

    Raises:
        ShapeError: Numbers of steps or layers that differ.
    """

    values: Mapping[str, np.ndarray] = field(repr=False)
    layers: tuple[int, ...]
    answer_ids: torch.Tensor = field(repr=False)
    answer_tokens: tuple[str, ...] = field(repr=False)
    answer: str
    prompt: str
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    effects: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Check that all steps and layers agree."""
        steps, layers = len(self.answer_tokens), len(self.layers)
        if len(self.answer_ids) != steps:
            got = f"{len(self.answer_ids)} ids and {steps} texts"
            raise ShapeError(message(got, "as many of each", "check how they were made", task="make a signal trace"))
        for name, found in self.values.items():
            if found.shape not in {(steps,), (steps, layers)}:
                got, expected = f"{name} of shape {found.shape}", f"{(steps, layers)} or {(steps,)}"
                raise ShapeError(message(got, expected, "check how they were made", task="make a signal trace"))

    @property
    def signals(self) -> xr.Dataset:
        """The values with their labels: one variable for each signal, dims (step, layer) or (step)."""
        arrays = {
            name: xr.Variable(("step", "layer")[: found.ndim], found, self.about.get(name, {}))
            for name, found in self.values.items()
        }
        coords = {"step": np.arange(self.num_steps), "token": ("step", np.array(self.answer_tokens, dtype=object))}
        coords |= {} if self.spans is None else {"span": ("step", np.array(self.spans, dtype=object))}
        return xr.Dataset(arrays, coords=coords | ({"layer": np.array(self.layers)} if self.layers else {}))

    @property
    def num_steps(self) -> int:
        """N: number of answer tokens."""
        return len(self.answer_tokens)

    @property
    def spans(self) -> tuple[Span, ...] | None:
        """As in a ``Trace``."""
        return recorded_spans(self.provenance, self.num_steps)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of the answer, in order, with the steps that wrote them."""
        return words_in(self.answer_tokens)
