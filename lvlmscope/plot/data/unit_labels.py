"""Quantities, units and counts in words: what a colour bar, an axis or a title says."""

from typing import Any, Final

import numpy as np
import xarray as xr

from lvlmscope.traces.array_attributes import bounds_of, name_of_part, unit_of

__all__ = ["axis_label", "counted", "heading_of", "map_label", "name_of", "quantity"]

_OF_TRACE: Final = ("token", "span", "key_token", "key_kind")  # what stands at a step or a key that was chosen
_ROUNDING: Final = 1e-3


def name_of(values: xr.DataArray | xr.Dataset) -> str:
    """What an array holds: its `long_name`, else its name, with the entry that was chosen of an axis of names.

    Of an axis `measure` the entry is the quantity. Values beyond the bounds of what the attributes tell of are a
    difference, or otherwise computed from it: arithmetic on labelled arrays keeps their attributes.

    Examples:
        >>> ratio = xr.DataArray([0.25, 0.5], dims="layer", attrs={"long_name": "ratio", "bounds": (0.0, 1.0)})
        >>> name_of(ratio), name_of(ratio - 0.5), name_of(ratio * 4)
        ('ratio', 'difference in ratio', 'computed from ratio')
        >>> both = xr.DataArray([[1.0], [2.0]], dims=("measure", "step"), coords={"measure": ["top_rank", "margin"]})
        >>> name_of(both.assign_attrs(long_name="confidence").sel(measure="top_rank"))
        'top rank'
    """
    own = "value" if isinstance(values, xr.Dataset) or values.name is None else values.name
    chosen = {
        str(dim): str(entry.item())
        for dim, entry in values.coords.items()
        if entry.ndim == 0 and entry.dtype.kind in "OU" and dim not in _OF_TRACE
    }
    name = name_of_part(str(values.attrs.get("long_name") or own), chosen)
    computed = "" if isinstance(values, xr.Dataset) else _computed(values)
    return f"{computed} {name}" if computed else name


def quantity(values: xr.DataArray) -> xr.DataArray:
    """The array with attributes that tell what it holds, whatever is averaged or chosen of it afterwards.

    Returns:
        The same values; bounds that they leave are left out.
    """
    kept = {name: value for name, value in values.attrs.items() if name != "bounds" or not _computed(values)}
    named = values.copy(deep=False)
    named.attrs = kept | ({"long_name": name_of(values)} if "long_name" in kept or named.name is not None else {})
    return named


def axis_label(values: xr.DataArray | xr.Dataset) -> str:
    """The quantity with its unit, which is always named.

    Args:
        values: A labelled array, or what `aggregate` gives, with `long_name`, `units` and `bounds`.

    Examples:
        >>> entropy = {"long_name": "layer image entropy", "units": "nats"}
        >>> axis_label(xr.DataArray([1.0], dims="layer", attrs=entropy))
        'layer image entropy (nats)'
        >>> share = {"long_name": "attention on the image", "units": "1", "bounds": (0.0, 1.0)}
        >>> axis_label(xr.DataArray([1.0], dims="layer", attrs=share))
        'attention on the image (share of 1)'
    """
    if isinstance(values, xr.Dataset):
        return f"{name_of(values)} ({unit_of(values.attrs)})"
    return f"{name_of(values)} ({unit_of(quantity(values).attrs)})"


def map_label(values: xr.DataArray) -> str:
    """The quantity of a map that the caller made, with its unit where it has one.

    Examples:
        >>> map_label(xr.DataArray([1.0], attrs={"long_name": "occlusion", "units": "nats"}))
        'occlusion (nats)'
    """
    units = str(values.attrs.get("units", ""))
    return name_of(values) + (f" ({units})" if units not in ("", "1") else "")


def heading_of(values: xr.DataArray, averaged: str) -> str:
    """The quantity, and what it was averaged over.

    Examples:
        >>> heading_of(xr.DataArray([1.0], attrs={"long_name": "entropy"}), "mean over 3 steps")
        'Entropy, mean over 3 steps'
    """
    name = name_of(values)
    return f"{name[:1].upper()}{name[1:]}" + (f", {averaged}" if averaged else "")


def counted(count: int, noun: str) -> str:
    """A count and its noun in the right number.

    Examples:
        >>> counted(1, "word"), counted(0, "word"), counted(2, "word")
        ('1 word', '0 words', '2 words')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _computed(values: xr.DataArray) -> str:
    """What values beyond the bounds of the attributes are; empty within them."""
    low, high = bounds_of(values.attrs)
    numbers: np.ndarray[Any, Any] = np.asarray(values.values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    if bool((finite < low - _ROUNDING).any()):
        return "difference in"
    return "computed from" if bool((finite > high + _ROUNDING).any()) else ""
