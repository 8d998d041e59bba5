"""Sums of a sweep's words by image, layer and class of word, read in batches of rows."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.signal_registry import signal_named
from lvlmscope.evaluation.sweep_tables import image_ids, read_manifest, require_tokens, word_batches
from lvlmscope.evaluation.word_labels import LABELS
from lvlmscope.traces.array_attributes import storable
from lvlmscope.traces.word_values import Tokens

__all__ = ["sweep_sums"]

_SUMS = ("total", "squares", "count")


def sweep_sums(
    folder: str | os.PathLike[str], signal: Any, axes: Sequence[str], tokens: Tokens
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Total, total of squares and count of a signal's readings in each image; one reading is one word.

    Args:
        folder: The sweep's folder, finished or not.
        signal: A signal's name.
        axes: Among layer and word.
        tokens: Which tokens of a word the sweep read.

    Returns:
        Variables `total`, `squares` and `count` with a dim `trace` and the axes; and what the sweep says of the signal.

    Raises:
        EvaluationError: No sweep, a signal or an axis that it does not hold, other tokens, no image, or classes of
            words that it does not know.
    """
    about = read_manifest(folder)
    name = _held(about, signal)
    require_tokens(about, tokens)
    if wrong := [axis for axis in axes if axis == "head" or (axis == "layer" and not about["signals"][name])]:
        got, expected = f"by={tuple(axes)} of {name} in a sweep", "axes that the sweep holds: no heads"
        raise EvaluationError(message(got, expected, f"leave {', '.join(wrong)} out, or pass traces"))
    numbers = {item: number for number, item in enumerate(image_ids(Path(folder)))}
    layers = about["layers"] if "layer" in axes else [0]
    classes = [*LABELS] if "word" in axes else [None]
    sums = np.zeros((3, len(numbers), len(classes), len(layers)))
    for batch in word_batches(Path(folder), ["item_id", "label", name], labelled="word" in axes):
        values = _values(batch.column(name), by_layer="layer" in axes)
        rows = np.array([numbers[item] for item in batch.column("item_id").to_pylist()], dtype=np.int64)
        labels = np.array(batch.column("label").to_pylist(), dtype=object)
        for place, label in enumerate(classes):
            own = slice(None) if label is None else labels == label
            _add(sums[:, :, place], rows[own], values[own])
    if not sums[2].any():
        got, expected = f"{folder} without such words", "words with this signal, labelled where by='word'"
        raise EvaluationError(message(got, expected, "sweep a data set with objects, or leave by='word' out"))
    dims = ("trace", "word", "layer")
    coords = {"word": classes, "layer": layers}
    whole = xr.Dataset({part: (dims, own) for part, own in zip(_SUMS, sums, strict=True)}, coords=coords)
    dropped = [dim for dim in ("word", "layer") if dim not in axes]
    return whole.isel(dict.fromkeys(dropped, 0), drop=True), storable(about.get("about", {}).get(name, {}))


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
