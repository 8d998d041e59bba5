"""Numbers packed small enough for a page: unsigned integers with a scale per row, as base64 text."""

import base64
from typing import Any, Final, Literal

import numpy as np

__all__ = ["packed", "packed_bytes", "plain_number", "unpacked"]

_AT_ONCE: Final = 1024  # rows: what they need in between is some times what they are
_TYPES: Final[dict[int, Any]] = {8: np.dtype("u1"), 16: np.dtype("<u2")}


def packed(rows: np.ndarray, bits: Literal[8, 16]) -> dict[str, Any]:
    """Rows of numbers as integers: `level = round(value / scale * (2^bits - 2))`, the highest level for undefined.

    The error of a value is at most `scale / (2^bits - 2) / 2`, with `scale` the greatest value of its row.

    Args:
        rows: Numbers from 0 up ``[row, column]``; NaN and infinite values count as undefined.
        bits: 8 or 16.

    Returns:
        JSON values: `bits`, `columns`, `scale` (float32, one per row) and `data`, both base64, little-endian.

    >>> unpacked(packed(np.array([[0.0, 0.5, np.nan]]), 8)).tolist()
    [[0.0, 0.5, nan]]
    """
    scales = np.empty(len(rows), "<f4")
    levels = np.empty(rows.shape, _TYPES[bits])
    for first in range(0, len(rows), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        scales[part], levels[part] = _levels(rows[part], 2**bits - 2)
    return {"bits": bits, "columns": rows.shape[1], "scale": _text(scales), "data": _text(levels)}


def _levels(rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The scale of each row and its levels, `top + 1` for undefined."""
    finite = np.isfinite(rows)
    scale = np.where(finite, rows, 0.0).max(axis=1, initial=0.0).astype("<f4")
    share = np.divide(
        rows, scale[:, None], out=np.zeros_like(rows, dtype=np.float64), where=finite & (scale > 0)[:, None]
    )
    return scale, np.where(finite, np.rint(np.clip(share, 0, 1) * top), top + 1)


def packed_bytes(rows: int, columns: int, bits: int) -> int:
    """Bytes of base64 text that `packed` makes of so many rows, at most.

    Args:
        rows: How many.
        columns: Numbers in a row.
        bits: Of each number, 8 or 16.

    >>> packed_bytes(3, 4, 8) == len(_text(np.zeros(12, np.uint8))) + len(_text(np.zeros(3, np.float32)))
    True
    """
    return (rows * columns * bits // 8 + 2) // 3 * 4 + (rows * 4 + 2) // 3 * 4


def unpacked(data: dict[str, Any]) -> np.ndarray:
    """The rows back from `packed`, float64 ``[row, column]``."""
    levels = np.frombuffer(base64.b64decode(data["data"]), _TYPES[data["bits"]]).reshape(-1, data["columns"])
    scale = np.frombuffer(base64.b64decode(data["scale"]), "<f4").astype(np.float64)
    top = 2 ** data["bits"] - 2
    return np.where(levels > top, np.nan, levels / top * scale[:, None])


def plain_number(value: float) -> float | None:
    """A number as JSON knows it: six digits, None for NaN and infinite values.

    >>> plain_number(float("nan")), plain_number(0.123456789)
    (None, 0.123457)
    """
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
