"""Logits of one step, beside those of other sequences and of earlier layers, for an intervention that mixes them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

__all__ = ["StepLogits"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepLogits:
    """What is known when the next token is about to be chosen.

    Attributes:
        logits: The model's own, as mixed by the interventions before, float32 ``[row, vocabulary]``; under beam search
            log-probabilities, as ``generate`` has them.
        answer: Tokens of the answer so far ``[row, step]``; none at its first token.
        branch: Logits of the same step in a sequence that the session's ``branches`` named, float32
            ``[row, vocabulary]``. Its forward runs when it is asked for; steps that were left out follow in one block.
        early: Logits that the output matrix makes of the state after a decoder layer, float32 ``[row, vocabulary]``;
            layers are those of the session's ``early_layers``.
    """

    logits: Float[torch.Tensor, "row vocabulary"]
    answer: Int[torch.Tensor, "row step"]
    branch: Callable[[str], Float[torch.Tensor, "row vocabulary"]]
    early: Callable[[int], Float[torch.Tensor, "row vocabulary"]]

    @property
    def step(self) -> int:
        """Number of the token that is about to be chosen, from 0."""
        return self.answer.shape[1]
