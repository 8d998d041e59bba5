"""The second sequences of one answer: made on request, equal ones once, those that fit into one batch together."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float, Int

from lvlmscope.decoding.branch import Branch
from lvlmscope.decoding.joined_branch import BranchPart, joined_inputs
from lvlmscope.errors import InterventionError, message
from lvlmscope.models.families import Family
from lvlmscope.registry import close_match
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.active_set import edits_forwards, overrides
from lvlmscope.runtime.generation_settings import plain_settings
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.runtime.prompt_inputs import PromptInputs

__all__ = ["BranchGroup", "BranchSet", "grouped_branches", "pads_branches"]

_Key = TypeVar("_Key", bound=Hashable)
_Sequence = TypeVar("_Sequence", bound=Branch)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BranchGroup(Generic[_Key]):
    """Sequences that run in one batch.

    Attributes:
        prompts: Their prompts, or what makes the only one.
        places: Which of them each branch wants.
    """

    prompts: list[PromptInputs | Callable[[], PromptInputs]]
    places: dict[_Key, int] = field(default_factory=dict)

    def inputs(self, *, pads: bool, beside: PromptInputs | None = None) -> dict[str, Any] | None:
        """One batch of all, or of all and another one; None where that does not fit.

        Args:
            pads: As for `joined_inputs`.
            beside: One more.
        """
        known = [each for each in (*self.prompts, beside) if isinstance(each, PromptInputs)]
        return joined_inputs([each.inputs for each in known], pads=pads)

    def takes(self, key: _Key, other: PromptInputs | Callable[[], PromptInputs], *, pads: bool) -> bool:
        """Take a branch in where it fits: one with an equal prompt as the same sequence, others beside it.

        Args:
            key: The branch.
            other: Its prompt, or what makes it.
            pads: As for `joined_inputs`.

        Returns:
            Whether it fits.
        """
        if not isinstance(other, PromptInputs) or other.edited:  # by others than those of another branch
            return False
        prompts = [each for each in self.prompts if isinstance(each, PromptInputs)]
        place = next((n for n, each in enumerate(prompts) if each.same_as(other)), None)
        joins = place is None and self.is_plain and _is_plain(other)
        if joins and self.inputs(pads=pads, beside=other) is not None:
            place = len(prompts)
            self.prompts.append(other)
        if place is not None:
            self.places[key] = place
        return place is not None

    @property
    def is_plain(self) -> bool:
        """Whether no intervention acts on it, as far as is known before it is made."""
        return all(_is_plain(each) for each in self.prompts)


def _is_plain(prompt: PromptInputs | Callable[[], PromptInputs]) -> bool:
    return isinstance(prompt, PromptInputs) and not prompt.edited and not prompt.interventions


def pads_branches(model: torch.nn.Module, family: Family) -> bool:
    """Whether a prompt of the model may be padded on the left without another result.

    Args:
        family: Its family's rules.
    """
    return not family.padding_reason(model)


def grouped_branches(
    named: Mapping[_Key, PromptInputs | Callable[[], PromptInputs]], *, pads: bool
) -> list[BranchGroup[_Key]]:
    """Which branches run together: those of equal prompts are one sequence, those of one shape one batch.

    In a batch with others runs no prompt on which interventions act, and none that is made when it is asked for.

    Args:
        named: The prompts of all branches.
        pads: Whether a prompt may be padded on the left.

    Returns:
        The groups, in the order of their first branch.
    """
    groups: list[BranchGroup[_Key]] = []
    for key, other in named.items():
        if not any(group.takes(key, other, pads=pads) for group in groups):
            groups.append(BranchGroup(prompts=[other], places={key: 0}))
    return groups


class BranchSet:
    """The branches of the interventions that mix the logits of one answer."""

    def __init__(
        self,
        instrumentation: Instrumentation,
        mixing: Sequence[ActiveIntervention],
        prompt: PromptInputs,
        *,
        reorders: bool,
    ) -> None:
        """Ask each intervention for its branches; none runs yet.

        Args:
            instrumentation: The model's.
            mixing: The interventions.
            prompt: The prompts of the answer.
            reorders: Whether rows of the answer are reordered between steps, as in beam search.
        """
        self._instrumentation, self._reorders = instrumentation, reorders
        self._pads = pads_branches(instrumentation.model, instrumentation.family)
        named = {(each, name): other for each in mixing for name, other in each.call("branches", prompt).items()}
        self._groups = grouped_branches(named, pads=self._pads)
        self._begun: dict[int, Branch] = {}
        self._beside: list[ActiveIntervention] = []
        self._replayed: torch.Tensor | None = None

    def logits(
        self, owner: ActiveIntervention, name: str, answer: Int[torch.Tensor, "row step"]
    ) -> Float[torch.Tensor, "row vocabulary"]:
        """Logits of the next token in a branch, which is begun when it is first requested.

        Args:
            owner: The intervention that named it.
            name: Its name.
            answer: The answer's tokens so far.

        Returns:
            The model's own logits, in its dtype.

        Raises:
            InterventionError: The intervention has no branch of this name.
        """
        number = next((n for n, group in enumerate(self._groups) if (owner, name) in group.places), None)
        if number is None:
            names = [own for group in self._groups for each, own in group.places if each is owner]
            close = close_match(str(name), names)
            fix = f"did you mean {close!r}" if close else "name it in branches()"
            got, expected = f"the branch {name!r}", ", ".join(names) or "a session with branches"
            raise InterventionError(message(got, expected, fix, task=f"mix logits with {owner.name}"))
        group = self._groups[number]
        count = len(group.prompts)
        if number not in self._begun:
            self._begun[number] = self._begin(owner, group)
            if self._replayed is not None:
                self._begun[number].replay(self._replayed.repeat(count, 1))
        return BranchPart(self._begun[number], place=group.places[owner, name], count=count).logits(answer)

    def _begin(self, owner: ActiveIntervention, group: BranchGroup[tuple[ActiveIntervention, str]]) -> Branch:
        """The sequence of a group; a prompt that is made now may have interventions of its own."""
        hooks, first = self._instrumentation, group.prompts[0]
        prompt = first if isinstance(first, PromptInputs) else first()
        fresh = [each.fresh(hooks.model_info) for each in self._others(owner)] if prompt.edited else []
        fresh += [ActiveIntervention(each, each.start(hooks.model_info)) for each in prompt.interventions]
        inputs = group.inputs(pads=self._pads) if len(group.prompts) > 1 else prompt.inputs
        assert inputs is not None
        return self.made(Branch, inputs, fresh)

    def _others(self, owner: ActiveIntervention) -> list[ActiveIntervention]:
        """The other interventions that edit forwards; of those that mix logits, too, their edits alone act."""
        others = [each for each in self._instrumentation.active if each is not owner]
        return [
            each
            for each in others
            if not each.session.chooses_tokens
            and (not overrides(each.session, "mix_logits") or edits_forwards(each.session))
        ]

    def made(self, kind: type[_Sequence], inputs: Mapping[str, Any], fresh: list[ActiveIntervention]) -> _Sequence:
        """A sequence of its own.

        Args:
            kind: Its class.
            inputs: Of its prompts.
            fresh: The only interventions that act in its forwards.

        Returns:
            The sequence; nothing has run yet.
        """
        hooks = self._instrumentation
        self._beside += fresh
        core = hooks.family.core(hooks.model)
        options = plain_settings(core) | {"max_new_tokens": 1, "do_sample": False}
        apart: Callable[[], AbstractContextManager[Any]] = partial(hooks.apart, fresh, {})
        return kind(hooks.model, core, inputs, options=options, apart=apart, reorders=self._reorders)

    def replay(self, answer: Int[torch.Tensor, "row step"]) -> None:
        """Run each branch over a whole answer, in one block, when it is first requested.

        Args:
            answer: All tokens.
        """
        self._replayed = answer

    def require_edits(self) -> None:
        """Check the edits made in the branches, at the end of the answer.

        Raises:
            InterventionError: An edit was invalid.
        """
        for each in self._beside:
            each.record.require_edits()
