"""Detects edits in place of tensors that a hook is shown: the model continues with them, and a trace records them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError, message

__all__ = ["left_unchanged"]


@contextmanager
def left_unchanged(shown: AttentionRows | Mapping[str, torch.Tensor], *, by: str, hook: str) -> Iterator[None]:
    """Refuse that a tensor is written into: by torch's version counter, in inference mode by a copy.

    Args:
        shown: What the hook is shown: rows, whose weights and scores are watched, or tensors by name.
        by: The intervention's name.
        hook: The hook's name.

    Yields:
        Nothing.

    Raises:
        InterventionError: A tensor was changed in place.
    """
    tensors = _made(shown) if isinstance(shown, AttentionRows) else shown
    before = {name: each.clone() if each.is_inference() else each._version for name, each in tensors.items()}  # noqa: SLF001
    yield
    if isinstance(shown, AttentionRows):  # scores are made when the hook first asks for them
        tensors = _made(shown)
    for name, tensor in tensors.items():
        started = before[name] if name in before else getattr(shown, "scores_version", 0)
        if not _same(tensor, started):
            got, fix = f"{name} changed in place", f"edit a copy: new = {name}.clone()"
            doing = f"run {hook} of the intervention {by}"
            raise InterventionError(message(got, "a new tensor, or None for no edit", fix, task=doing))


def _made(rows: AttentionRows) -> dict[str, torch.Tensor]:
    """The tensors of rows that a hook could write into, by the name it knows them by; unmade scores are left unmade."""
    tensors = {"rows.weights": rows.weights}
    if rows.scores_version is not None or rows.weights.is_inference():
        tensors["rows.scores"] = rows.scores
    return tensors


def _same(tensor: torch.Tensor, before: torch.Tensor | int) -> bool:
    if isinstance(before, int):
        return bool(tensor._version == before)  # noqa: SLF001 - there is no public counter
    return torch.allclose(tensor, before, rtol=0.0, atol=0.0, equal_nan=True)
