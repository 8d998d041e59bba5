"""``effect``: did a remedy do anything, and what."""

from dataclasses import dataclass
from typing import Any

import torch

from lvlmscope.errors import ModelInputError, message
from lvlmscope.record import Trace

__all__ = ["Effect", "effect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What changed between two traces of one prompt.

    Attributes:
        same_answer: Whether both answers have the same tokens.
        first_step: First step whose tokens differ, None when one answer begins with the other or both are equal.
        before_word: Text of the token there before, empty when `first_step` is None.
        after_word: Text of the token there after.
        shared_steps: Steps before the answers part: over these the rows answer the same question.
        image_mass_before: Mean image mass over the shared steps, layers and heads, in [0, 1]; the step at which the
            answers part is still shared, as both predict it from the same text. NaN without an image.
        image_mass_after: The same after.
        edits: One report per remedy: forwards, rows, edited heads and layers, and what its session tells.
    """

    same_answer: bool
    first_step: int | None
    before_word: str
    after_word: str
    shared_steps: int
    image_mass_before: float
    image_mass_after: float
    edits: tuple[dict[str, Any], ...]

    @property
    def changed(self) -> bool:
        """Whether any remedy edited anything."""
        return any(report.get("changed", False) for report in self.edits)

    def __str__(self) -> str:
        """A few lines for a terminal."""
        lines = [_edit_line(report) for report in self.edits] or ["no remedy was on"]
        if self.first_step is not None:
            lines.append(f"first word changed: {self.before_word.strip()!r} -> {self.after_word.strip()!r}")
        else:
            lines.append("no word changed" if self.same_answer else "one answer begins with the other")
        shift = f"{self.image_mass_before:.3f} -> {self.image_mass_after:.3f}"
        return "\n".join([*lines, f"mean image attention over {self.shared_steps} shared steps: {shift}"])


def effect(before: Trace, after: Trace) -> Effect:
    """Compares a trace with one of the same prompt made with remedies on.

    Args:
        before: Without the remedies.
        after: With them.

    Returns:
        First differing word, image mass over the shared steps, and each remedy's own report.

    Raises:
        ModelInputError: The prompts have different tokens.
    """
    if before.prompt_length != after.prompt_length or before.prompt != after.prompt:
        received = f"{before.prompt!r} ({before.prompt_length} tokens) and {after.prompt!r} ({after.prompt_length})"
        raise ModelInputError(message("compare traces", received, "two traces of one prompt", "trace the same inputs"))
    pairs = list(zip(before.answer_ids.tolist(), after.answer_ids.tolist(), strict=False))
    first = next((step for step, (old, new) in enumerate(pairs) if old != new), None)
    shared = len(pairs) if first is None else first + 1
    return Effect(
        same_answer=before.answer_ids.tolist() == after.answer_ids.tolist(),
        first_step=first,
        before_word="" if first is None else before.answer_tokens[first],
        after_word="" if first is None else after.answer_tokens[first],
        shared_steps=shared,
        image_mass_before=_mean_mass(before, shared),
        image_mass_after=_mean_mass(after, shared),
        edits=after.effects,
    )


def _mean_mass(trace: Trace, steps: int) -> float:
    mass: torch.Tensor = trace.rows().image_mass[:steps]
    return float(mass.mean()) if bool(trace.image_keys.any()) else float("nan")


def _edit_line(report: dict[str, Any]) -> str:
    layers = report.get("edited_heads_per_layer", {})
    heads = f"{report.get('edited_heads', 0)} (row, head) pairs in {len(layers)} layers"
    return f"{report.get('name', 'remedy')}: edited {heads} over {report.get('forwards', 0)} forwards"
