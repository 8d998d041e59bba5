"""Notices edits in place: what a hook is shown is what the model goes on with, and what a trace records."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError, message

__all__ = ["left_unchanged", "tensors_of"]


def tensors_of(rows: AttentionRows) -> dict[str, torch.Tensor]:
    """The tensors of rows that a hook could write into, by the name it knows them by.

    Args:
        rows: Rows that a hook is shown.

    Returns:
        The weights and the scores.
    """
    return {"rows.weights": rows.weights, "rows.scores": rows.scores}


@contextmanager
def left_unchanged(tensors: Mapping[str, torch.Tensor], *, by: str, hook: str) -> Iterator[None]:
    """Refuse that one of the tensors is written into: by torch's version counter, in inference mode by a copy.

    Args:
        tensors: What the hook is shown, by name.
        by: The intervention's name.
        hook: The hook's name.

    Yields:
        Nothing.

    Raises:
        InterventionError: A tensor was changed in place.
    """
    before = {name: each.clone() if each.is_inference() else each._version for name, each in tensors.items()}  # noqa: SLF001
    yield
    for name, tensor in tensors.items():
        if not _same(tensor, before[name]):
            got, fix = f"{name} changed in place", f"edit a copy: new = {name}.clone()"
            doing = f"run {hook} of the intervention {by}"
            raise InterventionError(message(got, "a new tensor, or None for no edit", fix, task=doing))


def _same(tensor: torch.Tensor, before: torch.Tensor | int) -> bool:
    if isinstance(before, int):
        return bool(tensor._version == before)  # noqa: SLF001 - there is no public counter
    return torch.allclose(tensor, before, rtol=0.0, atol=0.0, equal_nan=True)
