"""Counts and checks of an intervention's edits, kept on the device until they are read."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int, Shaped

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.runtime.edit_validation import (
    require_scores,
    require_values,
    validate_edit,
    validate_gain,
    validate_values,
)
from lvlmscope.runtime.in_place_edits import refuse_write

__all__ = ["CHECK_AT_ONCE", "EditRecord"]

CHECK_AT_ONCE: Final = "LVLMSCOPE_CHECK_EDITS"  # set to "now": each edit is checked where it is made
_STREAMS: Final = ("edit_hidden", "edit_mlp")
_HELD: Final = 2**22  # numbers that wait to be compared, at most: 16 MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Edit:
    """An edit of one layer that waits to be compared with what it changed."""

    hook: str
    layer: int
    new: torch.Tensor
    old: torch.Tensor | None
    hidden_keys: Bool[torch.Tensor, "#batch row #head key"] | None = None
    start: int = 0

    @property
    def like(self) -> tuple[object, ...]:
        """Edits that are compared together have this in common."""
        return self.hook, self.new.shape, self.new.device, self.new.dtype, self.start, self.hidden_keys is None


class EditRecord:
    """Counts of one intervention's edits by hook and layer, and whether one of them was no edit.

    The edits of a decode step wait for its end, where those of all layers are compared in a few kernels; those of many
    rows are compared at once, so that nothing large is kept. The results stay on the device.
    """

    def __init__(self, name: str) -> None:
        """Start counting.

        Args:
            name: The intervention's name.
        """
        self._name = name
        self._at_once = os.environ.get(CHECK_AT_ONCE) == "now"
        self._waiting: list[_Edit] = []
        self._spoiled_scores: Bool[torch.Tensor, ""] | None = None
        self._mixed: Int[torch.Tensor, ""] | None = None
        self._written: dict[tuple[str, str, torch.device], Bool[torch.Tensor, ""]] = {}
        self._held = 0
        # By hook, layers, device and number of tensors: changes, layers with a value that is not finite, masked keys
        self._found: dict[tuple[str, tuple[int, ...], torch.device, int], list[torch.Tensor]] = {}

    def attention(
        self, rows: AttentionRows, weights: Float[torch.Tensor, "..."], *, hook: str = "edit_attention"
    ) -> None:
        """Note new weights.

        Args:
            rows: The rows that the intervention saw.
            weights: What it returned.
            hook: ``edit_attention``, or ``edit_prompt_attention``, whose edits are compared at once.

        Raises:
            InterventionError: Another shape; where edits are checked at once, no attention.
        """
        validate_edit(rows, weights, self._name, hook=hook)
        hides = rows.visible_keys is not None and not rows.sees_all_keys
        hidden_keys = ~rows.visible_keys.unsqueeze(-2) if hides else None  # type: ignore[union-attr]
        edit = _Edit(
            hook=hook,
            layer=rows.own_layer,
            new=weights.detach(),
            old=rows.weights.detach(),
            hidden_keys=hidden_keys,
        )
        self._add(edit, waits=weights.shape[1] == 1 and hook == "edit_attention")

    def gain(self, rows: AttentionRows, gain: Float[torch.Tensor, "..."]) -> None:
        """Note gains.

        Args:
            rows: The rows that the intervention saw.
            gain: What it returned.

        Raises:
            InterventionError: Another shape; where edits are checked at once, not finite.
        """
        validate_gain(gain, rows, self._name)
        self._add(_Edit(hook="head_gain", layer=rows.own_layer, new=gain.detach(), old=None), waits=True)

    def stream(
        self,
        layer: int,
        new: Float[torch.Tensor, "..."],
        hidden: Float[torch.Tensor, "..."],
        start: int,
        *,
        hook: str = "edit_hidden",
    ) -> None:
        """Note a new residual stream, or a new output of an MLP.

        Args:
            layer: Layer number.
            new: What the intervention returned.
            hidden: What it saw.
            start: First predicting row; padding before it may be anything.
            hook: ``edit_hidden`` or ``edit_mlp``.

        Raises:
            InterventionError: Another shape; where edits are checked at once, rows that are not finite.
        """
        validate_values(new, hidden, hook, self._name)
        edit = _Edit(hook=hook, layer=layer, new=new.detach(), old=hidden.detach(), start=start)
        self._add(edit, waits=new.shape[1] == 1)

    def logits(self, old: Float[torch.Tensor, "row vocabulary"], new: Float[torch.Tensor, "..."]) -> None:
        """Note mixed logits.

        Args:
            old: What the intervention saw.
            new: What it returned.

        Raises:
            InterventionError: Another shape; where edits are checked at once, NaN.
        """
        validate_values(new, old, "mix_logits", self._name)
        count = (new != old).any(-1).sum()
        self._mixed = count if self._mixed is None else self._mixed + count
        self.scores(new.isnan() > old.isnan())

    @property
    def mixed_rows(self) -> int:
        """Rows of logits that were changed, a step and sample each."""
        return 0 if self._mixed is None else int(self._mixed.item())

    def scores(self, spoiled: Bool[torch.Tensor, "batch vocabulary"]) -> None:
        """Note where a logits processor, or mixing, made NaN.

        Args:
            spoiled: Scores that are NaN, and were not before.

        Raises:
            InterventionError: Where edits are checked at once, any.
        """
        found = spoiled.any()
        self._spoiled_scores = found if self._spoiled_scores is None else self._spoiled_scores | found
        if self._at_once:
            self.require_edits()

    def written(self, hook: str, name: str, found: Bool[torch.Tensor, ""]) -> None:
        """Note whether a tensor was written into.

        Args:
            hook: The hook that was shown it.
            name: The tensor's name.
            found: Whether it was.

        Raises:
            InterventionError: Where edits are checked at once, it was.
        """
        key = hook, name, found.device
        self._written[key] = found if key not in self._written else self._written[key] | found
        if self._at_once:
            self.require_unwritten()

    def require_unwritten(self) -> None:
        """Look whether a tensor was written into; this waits for the device where that is not known without it.

        Raises:
            InterventionError: One was.
        """
        for (hook, name, _), found in self._written.items():
            if found.item() is True:
                refuse_write(name, by=self._name, hook=hook)

    def _add(self, edit: _Edit, *, waits: bool) -> None:
        self._waiting.append(edit)
        self._held += edit.new.numel()
        if self._at_once:
            self.require_edits()
        elif not waits or self._held > _HELD:
            self.compare()

    @torch.no_grad()
    def compare(self) -> None:
        """Compare what waits; called at the end of a forward."""
        waiting, self._waiting, self._held = self._waiting, [], 0
        groups: dict[tuple[object, ...], list[_Edit]] = {}
        for edit in waiting:
            groups.setdefault(edit.like, []).append(edit)
        for edits in groups.values():
            first, layers = edits[0], tuple(edit.layer for edit in edits)
            new = _stacked([edit.new for edit in edits])
            old = None if first.old is None else _stacked([edit.old for edit in edits if edit.old is not None])
            # Of weights and gains every value counts, of the stream those that were finite in predicting rows
            before = old[:, :, first.start :] if old is not None and first.hook in _STREAMS else None
            spoiled = _spoiled(new[:, :, first.start :], before)
            found = [_changes(first.hook, new, old), spoiled]
            if first.hidden_keys is not None:
                hides = _stacked([edit.hidden_keys for edit in edits if edit.hidden_keys is not None])
                found.append(((new != 0) & hides).flatten(1).any(1))
            key = first.hook, layers, new.device, len(found)
            so_far = self._found.get(key)
            self._found[key] = found if so_far is None else [a + b for a, b in zip(so_far, found, strict=True)]

    def require_edits(self) -> None:
        """Look at what was found so far; this waits for the device.

        Raises:
            InterventionError: An edit had values that are not finite, or weight on a key that the row may not see.
        """
        self.compare()
        self.require_unwritten()
        if self._spoiled_scores is not None:
            require_scores(self._name, spoiled=self._spoiled_scores.item() is True)
        for (hook, *_), found in self._found.items():
            faults = torch.stack([each.sum() for each in found[1:]]).tolist()
            require_values(hook, self._name, spoiled=faults[0] > 0, masked=sum(faults[1:]) > 0)

    def adopt_prompt(self, other: "EditRecord") -> None:
        """Take over what another record knows of a prompt's rows, where this one's answer began after it.

        Args:
            other: A record of the same intervention.
        """
        other.compare()
        if not any(hook == "edit_prompt_attention" for hook, *_ in self._found):
            theirs = other._found.items()  # noqa: SLF001 - of the same class
            self._found |= {key: found for key, found in theirs if key[0] == "edit_prompt_attention"}

    def counts(self, hook: str) -> dict[int, int]:
        """What was changed so far: (row, head) pairs of each layer; of the stream, layers after which it was.

        Args:
            hook: The hook that changed it.

        Returns:
            Counts by layer, of the layers with any; ascending. Those of the stream are above 0 and count nothing.
        """
        self.compare()
        total: Counter[int] = Counter()
        for (own, layers, *_), found in self._found.items():
            if own == hook:
                total.update(dict(zip(layers, found[0].tolist(), strict=True)))
        return {layer: count for layer, count in sorted(total.items()) if count}


def _stacked(tensors: Sequence[Shaped[torch.Tensor, "*shape"]]) -> Shaped[torch.Tensor, "layer *shape"]:
    """One axis more, of layers; a single tensor is not copied."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))


def _changes(
    hook: str, new: Float[torch.Tensor, "layer *shape"], old: Float[torch.Tensor, "layer *shape"] | None
) -> Shaped[torch.Tensor, "layer"]:
    """How much of each layer is changed."""
    if old is None:
        return (new != 1).flatten(1).sum(1)
    changed = new != old
    return changed.flatten(1).any(1) if hook in _STREAMS else changed.any(-1).flatten(1).sum(1)


def _spoiled(
    new: Float[torch.Tensor, "layer *shape"], old: Float[torch.Tensor, "layer *shape"] | None
) -> Shaped[torch.Tensor, "layer"]:
    """Whether a layer has a value that is not finite where it had one: only such a number times 0 is NaN."""
    spoiled = (new * 0).isnan()
    if old is not None:
        spoiled = spoiled > (old * 0).isnan()
    return spoiled.flatten(1).any(1)
