"""An active intervention and its edit counts; the recorder protocol."""

import threading
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.hooks.user_code import calling
from lvlmscope.runtime.in_place_edits import left_unchanged
from lvlmscope.runtime.protocol import Intervention, ModelInfo, Session

__all__ = ["ActiveIntervention", "Recorder"]


@runtime_checkable
class Recorder(Protocol):
    """Receives rows and hidden states as edited, during a replay."""

    differentiable: bool
    wants_hidden: bool
    exact: bool

    def record_rows(self, layer: int, rows: AttentionRows) -> None:
        """Receives the rows ``[batch, row, head, key]`` of one layer, after all edits."""

    def record_hidden(self, layer: int, hidden: torch.Tensor) -> None:
        """Receives the predicting rows' stream ``[batch, row, hidden]`` after one layer (-1: the embedding)."""


class ActiveIntervention:
    """An active intervention: its configuration, its session, and counts of what it changed."""

    def __init__(self, intervention: Intervention, session: Session, thread: int | None = None) -> None:
        """Start counting.

        Args:
            intervention: The configuration.
            session: Its session in this model.
            thread: The thread whose forwards it acts on; None for all.
        """
        self.intervention = intervention
        self.session = session
        self.thread = thread
        self.name = str(intervention.describe().get("name", type(intervention).__name__))
        self.forwards = 0
        self.rows = 0
        self.edited: dict[int, int] = {}
        self.scaled: dict[int, int] = {}
        self.shifted: dict[int, int] = {}

    @property
    def acts_here(self) -> bool:
        """Whether it acts on forwards of the running thread."""
        return self.thread in (None, threading.get_ident())

    def restart(self, model_info: ModelInfo) -> None:
        """Start a new session and reset the counts."""
        session = self.intervention.start(model_info)
        self.__init__(self.intervention, session, self.thread)  # type: ignore[misc]

    def call(self, hook: str, *args: Any, shown: Mapping[str, torch.Tensor] | None = None) -> Any:
        """What the session answers; an exception of its own is noted with the intervention's name and the hook's.

        Args:
            hook: Name of the session's method.
            *args: Its arguments.
            shown: Tensors among them that belong to the model, by name.

        Returns:
            The method's answer.

        Raises:
            InterventionError: It wrote into a tensor that it was shown.
        """
        method = getattr(self.session, hook)
        with calling(f"the intervention {self.name}, in {hook}"):
            if not shown:
                return method(*args)
            with left_unchanged(shown, by=self.name, hook=hook):
                return method(*args)

    def take(self, other: "ActiveIntervention") -> None:
        """Take over what another start of the same intervention did.

        Args:
            other: Whose session and counts.
        """
        self.session, self.forwards, self.rows = other.session, other.forwards, other.rows
        self.edited, self.scaled, self.shifted = other.edited, other.scaled, other.shifted

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
        report = counts | self.session.report()
        if not report["changed"] and (reason := self._no_effect_reason()):
            report["no_effect_reason"] = reason
        return report

    def _no_effect_reason(self) -> str | None:
        if self.forwards:
            return self.session.no_effect_reason()
        here = "this thread" if self.thread is not None else "any thread"
        return f"no forward of the model ran in {here} while it was on"
