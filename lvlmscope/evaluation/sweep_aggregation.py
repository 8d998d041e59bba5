"""Sums of a sweep's words by image, layer, class of word, object and span, read in batches of rows."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.signal_registry import signal_named
from lvlmscope.evaluation.sweep_tables import (
    category_names,
    image_ids,
    read_manifest,
    require_tokens,
    word_batches,
)
from lvlmscope.evaluation.word_labels import LABELS
from lvlmscope.traces.answer_spans import SPANS
from lvlmscope.traces.array_attributes import storable
from lvlmscope.traces.word_values import Tokens

__all__ = ["sweep_sums"]

_SUMS = ("total", "squares", "count")


def sweep_sums(
    folder: str | os.PathLike[str], signal: Any, axes: Sequence[str], tokens: Tokens
) -> tuple[Iterator[xr.Dataset], dict[str, Any]]:
    """Total, total of squares and count of a signal's readings in each image; one reading is one word.

    Args:
        folder: The sweep's folder, finished or not.
        signal: A signal's name.
        axes: Among layer, word, category and span.
        tokens: Which tokens of a word the sweep read.

    Returns:
        Variables `total`, `squares` and `count` with a dim `trace` and the axes, one dataset for each category where
        that is an axis, so that no more than one is held; and what the sweep says of the signal.

    Raises:
        EvaluationError: No sweep, a signal or an axis that it does not hold, other tokens, no image, or classes of
            words that it does not know.
    """
    about, home = read_manifest(folder), Path(folder)
    name = _held(about, signal)
    require_tokens(about, tokens)
    if wrong := [axis for axis in axes if axis == "head" or (axis == "layer" and not about["signals"][name])]:
        got, expected = f"by={tuple(axes)} of {name} in a sweep", "axes that the sweep holds: no heads"
        raise EvaluationError(message(got, expected, f"leave {', '.join(wrong)} out, or pass traces"))
    categories = category_names(home) if "category" in axes else [None]
    sums = [_sums(home, name, axes, about["layers"] if "layer" in axes else [0], one) for one in categories[:1]]
    if not sums or ("category" not in axes and not sums[0]["count"].any()):
        got, expected = f"{folder} without such words", "words with this signal, labelled where by='word', with spans"
        raise EvaluationError(message(got, expected, "sweep a data set with objects, or leave by='word' out"))
    layers = about["layers"] if "layer" in axes else [0]
    later = (_sums(home, name, axes, layers, one) for one in categories[1:])
    return chain(sums, later), storable(about.get("about", {}).get(name, {}))


def _sums(home: Path, name: str, axes: Sequence[str], layers: Sequence[int], category: str | None) -> xr.Dataset:
    """Sums of the words of one category, or of all."""
    numbers = {item: number for number, item in enumerate(image_ids(home))}
    groups = {"label": [*LABELS] if "word" in axes else [None], "span": [*SPANS] if "span" in axes else [None]}
    sums = np.zeros((3, len(numbers), *map(len, groups.values()), len(layers)))
    columns = ["item_id", *groups, name]
    for batch in word_batches(home, columns, labelled="word" in axes or category is not None, category=category):
        values = _values(batch.column(name), by_layer="layer" in axes)
        rows = np.array([numbers[item] for item in batch.column("item_id").to_pylist()], dtype=np.int64)
        told = {each: np.array(batch.column(each).to_pylist(), dtype=object) for each in groups}
        for place, chosen in zip(np.ndindex(*map(len, groups.values())), product(*groups.values()), strict=True):
            masks = [told[each] == one for each, one in zip(groups, chosen, strict=True) if one is not None]
            own = np.logical_and.reduce(masks) if masks else np.full(len(rows), fill_value=True)
            _add(sums[(slice(None), slice(None), *place)], rows[own], values[own])
    dims = ("trace", "word", "span", "layer")
    coords: dict[str, Any] = {"word": groups["label"], "span": groups["span"], "layer": list(layers)}
    whole = xr.Dataset({part: (dims, own) for part, own in zip(_SUMS, sums, strict=True)}, coords=coords)
    found = whole.isel({dim: 0 for dim in dims[1:] if dim not in axes}, drop=True)
    return found if category is None else found.expand_dims(category=[category])


def _held(about: dict[str, Any], signal: Any) -> str:
    if not isinstance(signal, str):
        got, fix = f"{type(signal).__name__} of a sweep", "pass its name, or pass traces"
        raise EvaluationError(message(got, "the name of a signal that the sweep holds", fix))
    name = signal_named(signal).name
    if name not in about["signals"]:
        expected = ", ".join(about["signals"])
        raise EvaluationError(message(f"{name}, which the sweep did not read", expected, "choose one, or sweep again"))
    return name


def _values(column: Any, *, by_layer: bool) -> np.ndarray:
    """float64 [word, layer]; one column, over the layers that are defined, where layers are not asked for."""
    count = len(column)
    flat = (column.flatten() if hasattr(column.type, "list_size") else column).to_numpy(zero_copy_only=False)
    values: np.ndarray = flat.astype(np.float64).reshape(count, -1)
    if by_layer:
        return values
    known = ~np.isnan(values)
    held = known.sum(1)
    total = np.where(known, values, 0.0).sum(1)
    mean: np.ndarray = np.divide(total, held, out=np.full(count, np.nan), where=held > 0)
    return mean[:, None]


def _add(sums: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Adds words to `sums` [3, image, layer]."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    for part, readings in zip(sums, (filled, filled**2, known), strict=True):
        np.add.at(part, rows, readings)
