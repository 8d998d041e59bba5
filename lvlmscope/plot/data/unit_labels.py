"""What a colour bar or an axis says: the quantity and its unit, in words."""

from collections.abc import Mapping
from typing import Any

__all__ = ["quantity_label"]


def quantity_label(attrs: Mapping[str, Any], name: str = "") -> str:
    """What a colour bar or an axis says: the quantity with its unit.

    Args:
        attrs: `long_name`, `units` and `bounds` of a labelled array.
        name: Used when there is no `long_name`.

    Examples:
        >>> quantity_label({"long_name": "layer image entropy", "units": "nats"})
        'layer image entropy (nats)'
    """
    units = str(attrs.get("units", ""))
    low, high = attrs.get("bounds") or (0, 1)
    one = "share of 1" if low is None or low >= 0 else f"from {low:g} to {high:g}"
    told = {"": "no unit given", "1": one}.get(units, units)
    return f"{attrs.get('long_name', name) or 'value'} ({told})"
