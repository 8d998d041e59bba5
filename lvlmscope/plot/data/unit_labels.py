"""Quantities, units and counts in words: what a colour bar, an axis or a title says."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from lvlmscope.traces.array_attributes import unit_of

__all__ = ["axis_label", "counted", "map_label", "name_of"]


def name_of(values: xr.DataArray) -> str:
    """What an array holds: its `long_name`, else its name."""
    return str(values.attrs.get("long_name") or ("value" if values.name is None else values.name))


def axis_label(attrs: Mapping[str, Any], name: str = "") -> str:
    """The quantity with its unit, which is always named.

    Args:
        attrs: `long_name`, `units` and `bounds` of a labelled array.
        name: Used when there is no `long_name`.

    Examples:
        >>> axis_label({"long_name": "layer image entropy", "units": "nats"})
        'layer image entropy (nats)'
        >>> axis_label({"long_name": "attention on the image", "units": "1", "bounds": (0.0, 1.0)})
        'attention on the image (share of 1)'
    """
    return f"{attrs.get('long_name', name) or 'value'} ({unit_of(attrs)})"


def map_label(values: xr.DataArray) -> str:
    """The quantity of a map that the caller made, with its unit where it has one.

    Examples:
        >>> map_label(xr.DataArray([1.0], attrs={"long_name": "occlusion", "units": "nats"}))
        'occlusion (nats)'
    """
    units = str(values.attrs.get("units", ""))
    return name_of(values) + (f" ({units})" if units not in ("", "1") else "")


def counted(count: int, noun: str) -> str:
    """A count and its noun in the right number.

    Examples:
        >>> counted(1, "word"), counted(0, "word"), counted(2, "word")
        ('1 word', '0 words', '2 words')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
