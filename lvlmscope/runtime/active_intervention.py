"""An active intervention and its edit counts; the recorder protocol."""

import threading
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.hooks.user_code import calling
from lvlmscope.runtime.edit_record import EditRecord
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

    def __init__(
        self, intervention: Intervention, session: Session, thread: int | None = None, *, compiled: bool = False
    ) -> None:
        """Start counting.

        Args:
            session: Its session in this model.
            thread: The thread whose forwards it acts on; None for all.
            compiled: Whether its edit of rows is to run compiled.
        """
        self.intervention = intervention
        self.session = session
        self.thread = thread
        self.compiled = compiled
        if compiled and session.has_compiled_edit:
            session.compiled = True
        self.name = str(intervention.describe().get("name", type(intervention).__name__))
        self.forwards = 0
        self.rows = 0
        self.record = EditRecord(self.name)

    @property
    def acts_here(self) -> bool:
        """Whether it acts on forwards of the running thread."""
        return self.thread in (None, threading.get_ident())

    def reads(self, layer: int | None) -> bool:
        """Whether the session asks for the rows of a layer.

        Args:
            layer: Decoder layer number.

        Returns:
            Whether it has a hook that gets rows, and this layer is none that it leaves out.
        """
        kind = type(self.session)
        hooked = any(getattr(kind, name) is not getattr(Session, name) for name in ("edit_attention", "head_gain"))
        return hooked and (self.session.row_layers is None or layer in self.session.row_layers)

    def fresh(self, model_info: ModelInfo) -> "ActiveIntervention":
        """A start of the same intervention with a session and counts of its own, for a replay or a second sequence."""
        session = self.intervention.start(model_info)
        return ActiveIntervention(self.intervention, session, self.thread, compiled=self.compiled)

    def restart(self, model_info: ModelInfo) -> None:
        """Start a new session and reset the counts."""
        session = self.intervention.start(model_info)
        self.__init__(self.intervention, session, self.thread, compiled=self.compiled)  # type: ignore[misc]

    def call(self, hook: str, *args: Any, shown: AttentionRows | Mapping[str, torch.Tensor] | None = None) -> Any:
        """What the session answers; an exception of its own is noted with the intervention's name and the hook's.

        Args:
            hook: Name of the session's method.
            *args: Its arguments.
            shown: Rows among them, or tensors that belong to the model, by name.

        Returns:
            The method's answer.

        Raises:
            InterventionError: It wrote into a tensor that it was shown.
        """
        method = getattr(self.session, hook)
        with calling(f"the intervention {self.name}, in {hook}"):
            if shown is None:
                return method(*args)
            with left_unchanged(shown, by=self.name, hook=hook, later=self.record.written):
                return method(*args)

    def take(self, other: "ActiveIntervention") -> None:
        """Take over what another start of the same intervention did.

        Args:
            other: Whose session and counts.
        """
        self.session, self.forwards, self.rows = other.session, other.forwards, other.rows
        self.record = other.record

    def report(self) -> dict[str, Any]:
        """Counts kept for every intervention, then what its session reports (JSON values)."""
        edited, scaled, shifted = (self.record.counts(hook) for hook in ("edit_attention", "head_gain", "edit_hidden"))
        of_prompt, mlps = self.record.counts("edit_prompt_attention"), self.record.counts("edit_mlp")
        counts = {
            "name": self.name,
            "forwards": self.forwards,
            "rows": self.rows,
            "edited_heads": sum(edited.values()),
            "edited_heads_per_layer": {str(layer): n for layer, n in edited.items()},
            "scaled_heads": sum(scaled.values()),
            "scaled_heads_per_layer": {str(layer): n for layer, n in scaled.items()},
            "shifted_layers": list(shifted),
            "edited_mlps": list(mlps),
            "edited_prompt_heads": sum(of_prompt.values()),
            "mixed_rows": self.record.mixed_rows,
        }
        counts["changed"] = bool(edited or scaled or shifted or mlps or of_prompt or counts["mixed_rows"])
        report = counts | self.session.report()
        if not report["changed"] and (reason := self._no_effect_reason()):
            report["no_effect_reason"] = reason
        return report

    def _no_effect_reason(self) -> str | None:
        if self.forwards:
            return self.session.no_effect_reason()
        here = "this thread" if self.thread is not None else "any thread"
        return f"no forward of the model ran in {here} while it was on"
