"""Logits after the interventions that mix them, of an answer that is replayed."""

import torch
from jaxtyping import Float, Int

from lvlmscope.decoding.generation_record import Generation
from lvlmscope.runtime.logit_mixing import LogitMixing
from lvlmscope.runtime.model_hooks import Instrumentation

__all__ = ["MixedLogits"]


class MixedLogits:
    """Mixes the logits of an answer's steps once more; the other sequences run in one block each."""

    def __init__(self, instrumentation: Instrumentation, generation: Generation) -> None:
        """Nothing is done where no intervention that is on mixes logits.

        Args:
            instrumentation: The model's, inside its recording.
            generation: The answer.
        """
        self._answer: Int[torch.Tensor, "batch step"] = generation.ids[:, generation.prompt_length :]
        self._found: list[Float[torch.Tensor, "batch vocabulary"]] = []
        self._mixing: LogitMixing | None = None
        self._changed = False
        if mixing := instrumentation.mixing:
            self._mixing = LogitMixing(instrumentation, mixing, instrumentation.prompt_inputs(generation.inputs))

    @torch.no_grad()
    def add(self, logits: Float[torch.Tensor, "batch row vocabulary"]) -> None:
        """Mix the logits of the next steps, right after the forward that gave them.

        Args:
            logits: The model's own.
        """
        if self._mixing is None:
            return
        if not self._found:
            self._mixing.replay(self._answer)
        for row in range(logits.shape[1]):
            so_far = self._answer[:, : len(self._found)]
            own = logits[:, row].float()
            self._found.append(self._mixing.mixed(own, so_far, at=row))
            self._changed |= self._found[-1] is not own

    @property
    def logits(self) -> Float[torch.Tensor, "batch step vocabulary"] | None:
        """Of the steps so far; None where nothing was mixed."""
        return torch.stack(self._found, 1) if self._changed else None
