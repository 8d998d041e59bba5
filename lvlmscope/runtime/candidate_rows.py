"""Attention rows of the tokens that may come next."""

from typing import Any

import torch
from jaxtyping import Int

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.decoding.look_ahead import LookAhead
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.protocol import ModelInfo, Session

__all__ = ["CandidateRows", "RowReader"]


class _ReadingSession(Session):
    """Keeps the rows of one layer and edits none."""

    def __init__(self, layer: int) -> None:
        self.row_layers = frozenset({layer})
        self.rows: AttentionRows | None = None

    def edit_attention(self, rows: AttentionRows) -> None:
        """Keep them."""
        self.rows = rows


class RowReader:
    """Reads the rows of one layer, as edited by the interventions before it in the same forwards."""

    def __init__(self, layer: int) -> None:
        """Before the first forward.

        Args:
            layer: Decoder layer number.
        """
        self.session = _ReadingSession(layer)
        self.active = ActiveIntervention(self, self.session)

    def start(self, model_info: ModelInfo) -> Session:
        """The one session that it has."""
        del model_info
        return self.session

    def describe(self) -> dict[str, Any]:
        """It has no parameters."""
        return {"name": "reading rows", "reference": "", "parameters": {}}


class CandidateRows:
    """Rows of the answer's tokens and of candidates, from a sequence that looks ahead."""

    def __init__(self, sequence: LookAhead, reader: RowReader) -> None:
        """Nothing runs yet.

        Args:
            sequence: Runs the candidates.
            reader: Acts in its forwards, as the last.
        """
        self._sequence = sequence
        self._reader = reader

    def of(
        self,
        answer: Int[torch.Tensor, "row step"],
        candidates: Int[torch.Tensor, "row candidate"],
        device: torch.device,
    ) -> AttentionRows:
        """Rows of the answer's tokens that no call before has seen, then of the candidate.

        Args:
            answer: The answer's tokens so far.
            candidates: Tokens that may come next; as many as in the calls before.
            device: Where the rows are wanted.

        Returns:
            Rows ``[row, candidate, token, head, key]``.
        """
        self._sequence.run(answer, candidates)
        found, self._reader.session.rows = self._reader.session.rows, None
        assert found is not None
        shape = candidates.shape[0], candidates.shape[1]
        return AttentionRows(
            found.weights.detach().to(device).unflatten(0, shape),
            found.image_keys.to(device).unflatten(0, shape),
            layer=found.layer,
            image_span=found.image_span,
        )
