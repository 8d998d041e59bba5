"""An active intervention and its edit counts; the recorder protocol."""

from typing import Any, Protocol, runtime_checkable

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.runtime.protocol import Intervention, ModelInfo, Session

__all__ = ["ActiveIntervention", "Recorder"]


@runtime_checkable
class Recorder(Protocol):
    """Receives rows and hidden states as edited, during a replay."""

    differentiable: bool
    wants_hidden: bool

    def record_rows(self, layer: int, rows: AttentionRows) -> None:
        """Take the rows ``[batch, row, head, key]`` of one layer, after all edits."""

    def record_hidden(self, layer: int, hidden: torch.Tensor) -> None:
        """Take the predicting rows' stream ``[batch, row, hidden]`` after one layer (-1: the embedding)."""


class ActiveIntervention:
    """An active intervention: its configuration, its session, and counts of what it changed."""

    def __init__(self, intervention: Intervention, session: Session) -> None:
        """Start counting.

        Args:
            intervention: The configuration.
            session: Its session in this model.
        """
        self.intervention = intervention
        self.session = session
        self.forwards = 0
        self.rows = 0
        self.edited: dict[int, int] = {}
        self.scaled: dict[int, int] = {}
        self.shifted: dict[int, int] = {}

    def restart(self, model_info: ModelInfo) -> None:
        """Begin anew, with a fresh session and no counts.

        Args:
            model_info: The model.
        """
        self.__init__(self.intervention, self.intervention.start(model_info))  # type: ignore[misc]

    def take(self, other: "ActiveIntervention") -> None:
        """Take over what another performance of the same intervention did.

        Args:
            other: Whose session and counts.
        """
        self.session, self.forwards, self.rows = other.session, other.forwards, other.rows
        self.edited, self.scaled, self.shifted = other.edited, other.scaled, other.shifted

    @property
    def name(self) -> str:
        """The intervention's name."""
        return str(self.intervention.describe().get("name", type(self.intervention).__name__))

    def report(self) -> dict[str, Any]:
        """Counts kept for every intervention, then what its session reports (JSON values)."""
        counts = {
            "name": self.name,
            "forwards": self.forwards,
            "rows": self.rows,
            "edited_heads": sum(self.edited.values()),
            "edited_heads_per_layer": {str(layer): n for layer, n in sorted(self.edited.items())},
            "scaled_heads": sum(self.scaled.values()),
            "scaled_heads_per_layer": {str(layer): n for layer, n in sorted(self.scaled.items())},
            "shifted_layers": sorted(self.shifted),
        }
        counts["changed"] = bool(self.edited or self.scaled or self.shifted)
        told = counts | self.session.report()
        if self.forwards and not told["changed"] and (reason := self.session.no_effect_reason()):
            told["no_effect_reason"] = reason
        return told
