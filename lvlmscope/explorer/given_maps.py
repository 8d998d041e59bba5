"""Maps that were computed beside the trace and given to a view: occlusion, integrated gradients and their like."""

import base64
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.traces.array_attributes import unit_of

__all__ = ["given_maps"]

_EXPECTED: Final = (
    "arrays with dims word and key, or word, row and column, as lv.occlusion and lv.integrated_gradients give"
)
_KINDS: Final = ("occlusion", "integrated_gradients")


@task("show given maps")
def given_maps(
    word_maps: WordMaps, arrays: Iterable[xr.DataArray], panels: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What a page needs of each array, unrounded, as JSON values beside the trace's own quantities.

    Args:
        word_maps: The trace's maps.
        arrays: Signed values of its words; a word is found by the coordinate `first_step`.
        panels: The page's images, which maps by row and column are laid over.

    Raises:
        ModelInputError: Something else than labelled arrays, or no word of the answer among theirs.
        ShapeError: Other dims, or not one value for each image key.
    """
    return [
        _described(word_maps, number, each, panels) for number, each in enumerate(each_of("maps", arrays, _EXPECTED))
    ]


def _described(word_maps: WordMaps, number: int, array: Any, panels: list[dict[str, Any]]) -> dict[str, Any]:
    require_kind("maps", array, xr.DataArray, _EXPECTED)
    dims = set(array.dims)
    by_key = dims == {"word", "key"}
    if not by_key and dims != {"word", "row", "column"}:
        raise ShapeError(message(f"dims {dict(array.sizes)}", _EXPECTED, "choose one layer and step"))
    values = array.transpose("word", "key") if by_key else array.transpose("word", "row", "column")
    if by_key and values.coords["key"].values.tolist() != word_maps.keys:
        got, expected = f"{values.sizes['key']} keys", f"the trace's {len(word_maps.keys)} image keys in order"
        raise ShapeError(message(got, expected, "give a map of the same trace"))
    name = str(array.name or "map")
    shown = str(array.attrs.get("long_name", name))
    return {
        "id": f"given {number}",
        "kind": name if name in _KINDS else "",
        "given": True,
        "signed": True,
        "name": f"{name.replace('_', ' ')}: {shown}",
        "label": name.replace("_", " "),
        "unit": unit_of(array.attrs),
        "over": "mean",
        "rows": _rows_of_words(word_maps, array),
        "columns": int(np.prod(values.shape[1:])),
        "data": base64.b64encode(np.ascontiguousarray(values.values, dtype="<f4").tobytes()).decode(),
        "panels": None if by_key else [_panel(array, panels)],
    }


def _rows_of_words(word_maps: WordMaps, array: xr.DataArray) -> dict[str, int]:
    """The array's row of each word that it has."""
    steps = array.coords["first_step"].values.tolist() if "first_step" in array.coords else []
    found = {str(n): steps.index(word.steps[0]) for n, word in enumerate(word_maps.words) if word.steps[0] in steps}
    if not found:
        got = f"maps of steps {steps[:5]}" if steps else "maps without the coordinate first_step"
        raise ModelInputError(message(got, "maps of words of the answer", "give maps of the same trace"))
    return found


def _panel(array: xr.DataArray, panels: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows and columns as parts of the whole image."""
    index = int(array.attrs.get("image_index", 0))
    under = next((n for n, panel in enumerate(panels) if panel["image_index"] == index), None)
    width, height = (1.0, 1.0) if under is None else panels[under]["size"]
    rows, columns = array.sizes["row"], array.sizes["column"]
    across, down = width / columns, height / rows
    boxes = [
        [round(edge, 2) for edge in (c * across, r * down, (c + 1) * across, (r + 1) * down)]
        for r in range(rows)
        for c in range(columns)
    ]
    return {"size": [width, height], "boxes": boxes, "cells": list(range(rows * columns)), "image_panel": under}
