"""Several second sequences in one batch: one forward a step for all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int

from lvlmscope.decoding.branch import Branch
from lvlmscope.models.input_names import is_image_input

__all__ = ["BranchPart", "joined_inputs"]


class BranchPart:
    """One of the sequences that a branch runs side by side, each with the same answer."""

    def __init__(self, branch: Branch, *, place: int, count: int) -> None:
        """Nothing runs yet.

        Args:
            branch: Runs all of them; its prompts are those of the first sequence, then those of the next.
            place: Number of this sequence.
            count: Number of sequences.
        """
        self._branch, self._place, self._count = branch, place, count

    def logits(self, answer: Int[torch.Tensor, "row step"]) -> Float[torch.Tensor, "row vocabulary"]:
        """Logits of the next token; the first part that asks runs the step for all.

        Args:
            answer: As for `Branch.logits`.

        Returns:
            The model's own logits under this sequence's inputs, in its dtype.
        """
        if self._count == 1:
            return self._branch.logits(answer)
        rows = answer.shape[0]
        return self._branch.logits(answer.repeat(self._count, 1))[self._place * rows : (self._place + 1) * rows]


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.device == other.device


def joined_inputs(parts: Sequence[Mapping[str, Any]], *, pads: bool) -> dict[str, Any] | None:
    """The prompts of several sequences as one batch.

    Args:
        parts: Inputs of each, with as many prompts: left-padded ids and mask, and what their images have.
        pads: Whether the shorter may be padded on the left to the length of the longest.

    Returns:
        The prompts of the first sequence, then those of the next; None where they do not fit into one batch: other
        kinds of inputs (one without the image), or images of other shapes.
    """
    first = parts[0]
    sizes = {part["input_ids"].shape[1] for part in parts}
    if any(part.keys() != first.keys() for part in parts) or (len(sizes) > 1 and not pads):
        return None
    joined = {}
    for name in first:
        found = _joined(name, parts, max(sizes))
        if found is None:
            return None
        joined[name] = found
    return joined


def _joined(name: str, parts: Sequence[Mapping[str, Any]], longest: int) -> Any:
    values = [part[name] for part in parts]
    if not all(isinstance(value, torch.Tensor) for value in values):
        plain = all(type(value) is type(values[0]) and isinstance(value, bool | int | float | str) for value in values)
        return values[0] if plain and len(set(values)) == 1 else None
    if not all(_alike(values[0], value) for value in values):
        return None
    if all(value.shape == part["input_ids"].shape for value, part in zip(values, parts, strict=True)):
        return torch.cat([_padded(name, value, longest) for value in values])
    rows = parts[0]["input_ids"].shape[0]
    of_prompts = is_image_input(name) or all(value.dim() and value.shape[0] == rows for value in values)
    same = all(value.shape[1:] == values[0].shape[1:] for value in values)
    return torch.cat(values) if of_prompts and same else None


def _padded(name: str, value: Int[torch.Tensor, "row position"], longest: int) -> Int[torch.Tensor, "row longest"]:
    """Ids are padded with a token of the prompt: some models look at masked ones, as image tokens are counted."""
    before = longest - value.shape[1]
    if name == "input_ids":
        return torch.cat([value[:, -1:].expand(-1, before), value], 1)
    return torch.nn.functional.pad(value, (before, 0))
