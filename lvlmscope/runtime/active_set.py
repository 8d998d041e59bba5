"""The interventions that are on in one model: which of them act on what the running thread runs."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch

from lvlmscope.runtime.active_intervention import ActiveIntervention, Recorder
from lvlmscope.runtime.forward_state import PerThread, ReplayState
from lvlmscope.runtime.protocol import ModelInfo, Session

__all__ = ["ActiveSet", "edits_forwards", "overrides"]

_EDITS: Final = ("edit_attention", "edit_prompt_attention", "head_gain", "edit_hidden", "edit_mlp")


class ActiveSet:
    """Interventions of one model in order; during a replay, fresh starts of them.

    Attributes:
        attached: All that are on, in order, of every thread.
        replayed: The starts of the last replay.
    """

    model_info: ModelInfo

    def __init__(self) -> None:
        """Nothing is on."""
        self.attached: list[ActiveIntervention] = []
        self.replayed: list[ActiveIntervention] = []
        self._here = PerThread()
        self._replay: ReplayState | None = None

    @property
    def replay_recorder(self) -> Recorder | None:
        """What records the replay that is going on in any thread."""
        return None if self._replay is None else self._replay.recorder

    def keep_early(self, layer: int, states: torch.Tensor) -> None:
        """Keep states of the running thread's forward that are asked for as logits.

        Args:
            layer: Decoder layer number.
            states: Of the predicting rows ``[batch, row, hidden]``.
        """
        self._here.early[layer] = states

    @property
    def active(self) -> list[ActiveIntervention]:
        """The interventions that act on forwards of the running thread, in order."""
        if self._replay is not None and self._replay.is_here:
            return self._replay.active
        return [each for each in self.attached if each.acts_here]

    @property
    def recorder(self) -> Recorder | None:
        """What records the running thread's forwards."""
        return self._replay.recorder if self._replay is not None and self._replay.is_here else None

    @property
    def mixing(self) -> list[ActiveIntervention]:
        """Those of them that mix logits."""
        return [each for each in self.active if overrides(each.session, "mix_logits")]

    @property
    def early_states(self) -> Mapping[int, torch.Tensor]:
        """States of the last forward's predicting rows by layer, ``[batch, row, hidden]``, as sessions ask for them."""
        return self._here.early

    @property
    def differentiates(self) -> bool:
        """Whether a session asks for gradients."""
        return any(overrides(s, "gradient_layers") for s in self.every_session)

    @property
    def early_layers(self) -> frozenset[int]:
        """Layers whose states are asked for as logits; with the last, by which the unembedding is verified."""
        named = {layer for each in self.every_session for layer in each.early_layers}
        return frozenset(named | {self.model_info.num_layers - 1} if named else named)

    @property
    def every_session(self) -> list[Session]:
        """The sessions of all threads."""
        replayed = [] if self._replay is None else self._replay.active
        return [each.session for each in (*self.attached, *replayed)]

    def restart(self) -> None:
        """Give every intervention a fresh session, so that its report speaks of what comes next only."""
        for each in self.active:
            each.restart(self.model_info)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Let fresh sessions act for a while, so that the reports speak of what was before only.

        Yields:
            Nothing.
        """
        before = [copy.copy(each) for each in self.active]
        self.restart()
        try:
            yield
        finally:
            for each, kept in zip(self.active, before, strict=True):
                each.take(kept)

    def count_replay(self) -> None:
        """Let the reports speak of the last replay: a given answer is replayed, only its prompt was generated from."""
        for each, replayed in zip(self.active, self.replayed, strict=True):
            replayed.record.adopt_prompt(each.record)  # a block begins after the prompt
            each.take(replayed)


def overrides(session: Session, name: str) -> bool:
    """Whether a session has a hook of its own.

    Args:
        session: A session.
        name: The hook's name.

    Returns:
        Whether it does not leave the hook to the base class.
    """
    return getattr(type(session), name, None) is not getattr(Session, name)


def edits_forwards(session: Session) -> bool:
    """Whether a session has a hook that edits what a forward computes.

    Args:
        session: A session.
    """
    return any(overrides(session, name) for name in _EDITS)
