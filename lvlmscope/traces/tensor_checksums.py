"""CRC-32 of tensors in a trace file: of each step and layer for rows, so that a partial read is checked too."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from lvlmscope.errors import TraceFileError, message

__all__ = ["checksums_of", "require_checksums"]

_ROWS: Final = ("attention", "gradient")


def checksums_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """The checksums of each tensor.

    Args:
        tensors: By name; ``attention`` and ``gradient`` are ``[step, layer, ...]``.

    Returns:
        By name: for rows one number for each step and layer, step first; for others a single one.

    >>> checksums_of({"entropy": torch.zeros(2)})
    {'entropy': [1696784233]}
    """
    return {name: [_crc(part) for part in _parts(name, tensor)] for name, tensor in tensors.items()}


def require_checksums(name: str, tensor: torch.Tensor, stored: Sequence[int] | None) -> None:
    """Refuse a tensor, or a cut of rows, whose bytes are not those that were written.

    Args:
        name: Its name.
        tensor: What was read.
        stored: Its checksums; None in files of earlier versions, which hold none.

    Raises:
        TraceFileError: They differ.
    """
    if stored is None:
        return
    found = [_crc(part) for part in _parts(name, tensor)]
    if found != list(stored):
        got = f"{name} that differs from what was written"
        raise TraceFileError(message(got, "an undamaged file", "copy the file again, or trace again"))


def _parts(name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
    if name in _ROWS and tensor.dim() >= 2:
        return [tensor[step, layer] for step in range(tensor.shape[0]) for layer in range(tensor.shape[1])]
    return [tensor]


def _crc(tensor: torch.Tensor) -> int:
    return zlib.crc32(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
