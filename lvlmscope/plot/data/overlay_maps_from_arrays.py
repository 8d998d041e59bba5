"""Maps of words that the caller gives as an array: on image tokens, or on rows and columns of the image."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.traces.token_layout import Box
from lvlmscope.traces.words import Word

__all__ = ["maps_from_array"]


@task("draw values over the image")
def maps_from_array(
    values: xr.DataArray,
    words: Sequence[Word],
    size: tuple[int, int] | None,
    boxes_of: Callable[[], tuple[list[Box], list[int]]],
) -> tuple[list[Box], list[np.ndarray]]:
    """Boxes in the image, and each word's values on them.

    Args:
        values: Dims word and key, or word, row and column; without word for one map. Words are found by their
            coordinate `first_step`, else by their text.
        words: The words to draw.
        size: Width and height of the image.
        boxes_of: Gives boxes and keys of the image tokens.

    Returns:
        Boxes, and `[box]` for each word.

    Raises:
        ModelInputError: No labelled array.
        ShapeError: Other dims, no map of a word, or no value for an image token.
    """
    require_kind("values", values, xr.DataArray, "a labelled array with dims word and key, or word, row and column")
    dims = set(values.dims) - {"word"}
    if dims not in ({"key"}, {"row", "column"}):
        expected = "dims word and key, or word, row and column"
        raise ShapeError(message(f"dims {dict(values.sizes)}", expected, "choose one layer and step"))
    maps = [_of_word(values, word) for word in words]
    if dims == {"key"}:
        boxes, keys = boxes_of()
        known = set(values.coords["key"].values.tolist()) if "key" in values.coords else set()
        if missing := sorted(set(keys) - known):
            got = f"no value for {len(missing)} image keys, the first of them {missing[0]}"
            raise ShapeError(message(got, "a value for every image key", "give the whole map"))
        return boxes, [one.sel(key=keys).to_numpy().astype(float) for one in maps]
    rows, columns, (width, height) = values.sizes["row"], values.sizes["column"], size or (1, 1)
    across, down = width / columns, height / rows
    boxes = [(c * across, r * down, (c + 1) * across, (r + 1) * down) for r in range(rows) for c in range(columns)]
    return boxes, [one.transpose("row", "column").to_numpy().astype(float).ravel() for one in maps]


def _of_word(values: xr.DataArray, word: Word) -> xr.DataArray:
    if "word" not in values.dims:
        return values
    steps = values.coords.get("first_step")
    texts = values.coords["word"].values.tolist() if "word" in values.coords else []
    found = [n for n, text in enumerate(texts) if text == word.text] if steps is None else []
    if steps is not None:
        found = [n for n, step in enumerate(steps.values.tolist()) if step == word.steps[0]]
    if not found:
        fix = "choose one of these, or make its map"
        raise ShapeError(message(f"no map of {word.text!r}", ", ".join(map(repr, texts)) or "none", fix))
    return values.isel(word=found[0])
