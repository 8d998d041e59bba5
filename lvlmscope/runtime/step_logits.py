"""Logits of one step, beside those of other sequences and of earlier layers, for an intervention that mixes them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

from lvlmscope.attention.attention_rows import AttentionRows

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
        look_ahead: Attention of a layer if each of several tokens came next, of tokens ``[row, candidate]`` and a layer
            number: rows ``[row, candidate, token, head, key]`` of the answer's tokens that no call before has seen,
            then of the candidate. One forward, with a cache of its own and all edits of attention and stream. At most
            as many tokens in a layer as the session's ``look_ahead_tokens`` says.
        came_from: The row of the step before that each row continues, ``[row]``; None where rows kept their places.
            State that a session keeps for each row from step to step is to be reordered by it.
    """

    logits: Float[torch.Tensor, "row vocabulary"]
    answer: Int[torch.Tensor, "row step"]
    branch: Callable[[str], Float[torch.Tensor, "row vocabulary"]]
    early: Callable[[int], Float[torch.Tensor, "row vocabulary"]]
    look_ahead: Callable[[Int[torch.Tensor, "row candidate"], int], AttentionRows]
    came_from: Int[torch.Tensor, "row"] | None = None

    @property
    def step(self) -> int:
        """Number of the token that is about to be chosen, from 0."""
        return self.answer.shape[1]
