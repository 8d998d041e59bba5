"""Attributes of labelled arrays in types that netCDF takes: strings, numbers, and tuples of numbers."""

import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

__all__ = ["bounds_of", "name_of_part", "storable", "unit_of"]


def storable(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes in types that `to_netcdf` writes.

    Args:
        attrs: Any attributes. `bounds` is (low, high); None stands for a bound that does not exist, or for both.

    Returns:
        Strings, numbers and tuples of numbers as they are, True and False as 1 and 0, other values as JSON. A missing
        bound is an infinity; other attributes that are None are left out.

    >>> storable({"bounds": (0.0, None), "normalise": True, "step": None, "layers": [1, 2]})
    {'bounds': (0.0, inf), 'normalise': 1, 'layers': (1, 2)}
    """
    return {
        name: bounds_of(attrs) if name == "bounds" else _storable(value)
        for name, value in attrs.items()
        if name == "bounds" or value is not None
    }


def bounds_of(attrs: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the greatest possible value, infinite where there is none.

    Args:
        attrs: Of a labelled array, also one that was read from a file.

    >>> bounds_of({"bounds": None})
    (-inf, inf)
    """
    given = attrs.get("bounds")
    low, high = (None, None) if given is None else given
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def name_of_part(name: str, part: Mapping[str, str]) -> str:
    """The name of what is left of an array when entries of its axes of names are chosen.

    Of an axis `measure` the entry is the quantity itself; of others it is a part of it.

    Args:
        name: Of the whole array.
        part: The chosen entry of each axis.

    >>> name_of_part("confidence", {"measure": "log_probability"}), name_of_part("anchor drift", {"anchor": "r_pos"})
    ('log probability', 'anchor drift, r_pos')
    """
    for dim, entry in part.items():
        if dim == "measure":
            name = entry.replace("_", " ")
        elif entry not in name:
            name = f"{name}, {entry}"
    return name


def unit_of(attrs: Mapping[str, Any]) -> str:
    """The unit of a number in words; of a pure number its range, so that a 0.5 can be read.

    Args:
        attrs: `units` and `bounds` of a labelled array.

    >>> unit_of({"units": "nats"}), unit_of({"units": "1", "bounds": (0, 1)})
    ('nats', 'share of 1')
    >>> unit_of({"units": "1", "bounds": (-1, 1)})
    'from -1 to 1'
    >>> unit_of({"units": "1", "bounds": (0, None)}), unit_of({})
    ('pure number', 'no unit given')
    """
    units, (low, high) = str(attrs.get("units", "")), bounds_of(attrs)
    if units != "1":
        return units or "no unit given"
    if not (math.isfinite(low) and math.isfinite(high)):
        return "pure number"
    return "share of 1" if (low, high) == (0, 1) else f"from {low:.3g} to {high:.3g}"


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value
    plain = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if isinstance(plain, bool):
        return int(plain)
    if isinstance(plain, Real):
        return int(plain) if isinstance(plain, Integral) else float(plain)
    if isinstance(plain, list | tuple) and plain and all(isinstance(each, Real) for each in plain):
        return tuple(_storable(each) for each in plain)
    return json.dumps(plain, default=str)
