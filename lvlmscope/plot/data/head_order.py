"""The order in which a map shows the heads of each layer: by number, by value, or in groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ShapeError, message

__all__ = ["HeadOrder", "head_order"]

_LAST = ("other", "False", "rest")  # what is left over stands at the right


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadOrder:
    """Which head is drawn at which position.

    Attributes:
        heads: Head number at each position ``[layer, position]``.
        groups: Names of the groups in their order; empty without groups.
        ends: Heads up to the end of each group but the last ``[layer, group - 1]``.
        title: Of the head axis; empty where positions are the heads' numbers.
    """

    heads: np.ndarray
    groups: tuple[str, ...]
    ends: np.ndarray
    title: str


def head_order(values: xr.DataArray, order: Literal["number", "value"], groups: "xr.DataArray | None") -> HeadOrder:
    """Sort each layer's heads: first by group, then by number or value.

    Args:
        values: Dims (layer, head).
        order: `"number"`, or `"value"`: the highest first, undefined ones last.
        groups: A string or a bool for each (layer, head); None for no groups.

    Raises:
        ShapeError: Groups of other axes.

    Examples:
        >>> values = xr.DataArray([[0.1, 0.3, 0.2]], dims=("layer", "head"))
        >>> head_order(values, "value", None).heads.tolist()
        [[1, 2, 0]]
        >>> head_order(values, "number", values > 0.15).heads.tolist()
        [[1, 2, 0]]
    """
    cells = np.where(np.isfinite(values.to_numpy().astype(float)), values.to_numpy().astype(float), -np.inf)
    names: tuple[str, ...] = ()
    ranks = np.zeros(cells.shape, dtype=int)
    if groups is not None:
        texts, names, called = _named(values, groups)
        ranks = np.vectorize(names.index, otypes=[int])(texts)
        names = tuple(called.get(name, name) for name in names)
    keys = -cells if order == "value" else np.broadcast_to(np.arange(cells.shape[1]), cells.shape)
    heads = np.stack([np.lexsort((key, rank)) for key, rank in zip(keys, ranks, strict=True)])
    ends = (
        np.stack([(ranks <= number).sum(1) for number in range(len(names) - 1)], 1) if len(names) > 1 else ranks[:, :0]
    )
    return HeadOrder(heads=heads, groups=names, ends=ends, title=_title(order, names))


def _named(values: xr.DataArray, groups: Any) -> tuple[np.ndarray, tuple[str, ...], dict[str, str]]:
    """Group of each head, the groups in order, and what they are called where that differs."""
    if not isinstance(groups, xr.DataArray) or dict(groups.sizes) != dict(values.sizes):
        got = f"dims {dict(groups.sizes)}" if isinstance(groups, xr.DataArray) else type(groups).__name__
        expected = f"groups with dims {dict(values.sizes)}"
        raise ShapeError(message(got, expected, "pass functional_heads or sensitive_heads of the trace"))
    texts = groups.transpose("layer", "head").to_numpy().astype(str)
    names = sorted(set(texts.ravel().tolist()), key=lambda name: (name in _LAST, name))
    one = str(groups.attrs.get("long_name", "chosen"))
    return texts, tuple(names), {"True": one, "False": "other"} if groups.dtype == bool else {}


def _title(order: str, names: Sequence[str]) -> str:
    if order == "number" and not names:
        return ""
    sorting = "highest first" if order == "value" else "by number"
    listed = ": " + ", ".join(names) if names else ""
    return f"query heads of each layer{listed}; {sorting}" if names else f"query heads of each layer, {sorting}"
