"""What belongs to the thread that runs a forward, and to the one that replays an answer."""

import threading

import torch

from lvlmscope.runtime.active_intervention import ActiveIntervention, Recorder
from lvlmscope.runtime.row_check import RowCheck

__all__ = ["PerThread", "ReplayState"]


class PerThread(threading.local):
    """What the forward that a thread runs has shown so far.

    Attributes:
        seen_layers: Layers that have called the tap.
        check: Comparison of their rows with the kernel's output.
        generating: Whether ``generate`` runs the forward.
        differentiating: Interventions that asked for the forward's graph.
        early: States of its predicting rows by layer ``[batch, row, hidden]``, where they are asked for as logits.
    """

    def __init__(self) -> None:
        """Start without a forward; each thread does so when it first asks."""
        self.seen_layers: list[int] = []
        self.check = RowCheck()
        self.generating = False
        self.differentiating: list[ActiveIntervention] = []
        self.early: dict[int, torch.Tensor] = {}


class ReplayState:
    """A replay, or a sequence beside the answer: fresh starts of the interventions, in the thread that runs it.

    Attributes:
        recorder: Takes rows and hidden states; None for a sequence beside the answer.
        active: The interventions with sessions of their own.
    """

    def __init__(self, recorder: Recorder | None, active: list[ActiveIntervention]) -> None:
        """Begin in the running thread.

        Args:
            recorder: Takes rows and hidden states, if any.
            active: The interventions with sessions of their own.
        """
        self.recorder = recorder
        self.active = active
        self._thread = threading.get_ident()

    @property
    def is_here(self) -> bool:
        """Whether the running thread replays."""
        return self._thread == threading.get_ident()
