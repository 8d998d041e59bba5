"""Detects edits in place of tensors that a hook is shown: the model continues with them, and a trace records them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError, message

__all__ = ["left_unchanged", "refuse_write"]


@contextmanager
def left_unchanged(
    shown: AttentionRows | Mapping[str, torch.Tensor],
    *,
    by: str,
    hook: str,
    later: Callable[[str, str, torch.Tensor], None],
) -> Iterator[None]:
    """Refuse that a tensor is written into: by torch's version counter, in inference mode by a copy.

    The copy is compared on the device, and nobody waits for the answer here.

    Args:
        shown: What the hook is shown: rows, whose weights and scores are watched, or tensors by name.
        by: The intervention's name.
        hook: The hook's name.
        later: Gets hook, tensor's name and whether it was written into, bool on the device, in inference mode.

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
        if isinstance(started, torch.Tensor):  # NaN stays NaN
            later(hook, name, ((tensor != started) & ~(tensor.isnan() & started.isnan())).any())
        elif tensor._version != started:  # noqa: SLF001 - there is no public counter
            refuse_write(name, by=by, hook=hook)


def refuse_write(name: str, *, by: str, hook: str) -> NoReturn:
    """Say who wrote into what.

    Args:
        name: The tensor's.
        by: The intervention's name.
        hook: The hook's name.

    Raises:
        InterventionError: Always.
    """
    got, fix = f"{name} changed in place", f"edit a copy: new = {name}.clone()"
    doing = f"run {hook} of the intervention {by}"
    raise InterventionError(message(got, "a new tensor, or None for no edit", fix, task=doing))


def _made(rows: AttentionRows) -> dict[str, torch.Tensor]:
    """The tensors of rows that a hook could write into, by the name it knows them by; unmade scores are left unmade."""
    tensors = {"rows.weights": rows.weights}
    if rows.scores_version is not None or rows.weights.is_inference():
        tensors["rows.scores"] = rows.scores
    return tensors
