"""Idefics3 and SmolVLM: an image cut into square sub-images, row by row, then the whole image as tile 0."""

import re
from collections.abc import Sequence
from itertools import product
from typing import Any

from lvlmscope.models.families.grid_family import GridFamily, Sample
from lvlmscope.models.families.patch_grids import Axis, Pane, PlacementError, Visual, even
from lvlmscope.models.families.registry import family
from lvlmscope.models.families.square_inputs import tower_patches

__all__ = ["IdeficsFamily"]

_MARKER = re.compile(r"<row_(\d+)_col_(\d+)>")


@family
class IdeficsFamily(GridFamily):
    """Each run of tokens is one sub-image, identified by the marker before it where the tokenizer is known."""

    name = "idefics3"
    model_types = ("idefics3", "smolvlm")
    per_sample = ("input_ids", "attention_mask", "pixel_values")

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """One image per whole image and the sub-images before it; without markers a single run only."""
        config, runs = sample.config, sample.runs
        side, patches, patch = tower_patches(config.vision_config, sample.pixels)
        block = int(config.scale_factor)
        count = patches // block
        if any(len(run) != count**2 for run in runs):
            raise PlacementError(f"runs of {len(runs[0])} tokens where a sub-image gives {count**2}")
        shapes = _shapes(sample, runs)
        found = []
        for size, shape in zip(sample.images(len(shapes)), shapes, strict=True):
            found.append(_visual(size, shape, side, (count, patch * block)))
        return found


def _visual(size: tuple[int, int] | None, shape: tuple[int, int], side: int, grid: tuple[int, int]) -> Visual:
    """Sub-images of an image stretched to fill them (rows, columns; 0, 0 for none), and the whole."""
    rows, columns = shape
    # Without the image, boxes are in pixels of the sub-images side by side
    width, height = size or (side * max(columns, 1), side * max(rows, 1))
    panes = []
    for number, (row, column) in enumerate(product(range(rows), range(columns))):
        across = Axis(length=float(width), start=-float(column * side), scale=width / (side * columns))
        down = Axis(length=float(height), start=-float(row * side), scale=height / (side * rows))
        panes.append(_pane(across, down, grid, number + 1))
    panes.append(_pane(Axis.stretched(width, side), Axis.stretched(height, side), grid, 0))
    return Visual(panes=tuple(panes), size=(width, height), pixels="input" if size is None else "image")


def _pane(across: Axis, down: Axis, grid: tuple[int, int], tile: int) -> Pane:
    spans = even(*grid)
    return Pane(rows=down.spans(spans), columns=across.spans(spans), tile=tile)


def _shapes(sample: Sample, runs: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Rows and columns of sub-images of each image, by the markers before the runs."""
    if len(runs) == 1:
        return [(0, 0)]
    positions = _positions(sample, runs)
    found: list[tuple[int, int]] = []
    pending: list[tuple[int, int]] = []
    for position in positions:
        if position is not None:
            pending.append(position)
            continue
        rows, columns = pending[-1] if pending else (0, 0)
        if pending != list(product(range(1, rows + 1), range(1, columns + 1))):
            raise PlacementError("the markers of the sub-images do not name a full grid")
        found.append((rows, columns))
        pending = []
    if pending:
        raise PlacementError("the last sub-images have no whole image after them")
    return found


def _positions(sample: Sample, runs: Sequence[Sequence[int]]) -> list[tuple[int, int] | None]:
    """Row and column of each run from its marker, None for a whole image."""
    tokenizer: Any = getattr(sample.processor, "tokenizer", None)
    if tokenizer is None or sample.ids is None:
        raise PlacementError(f"{len(runs)} sub-images, and no tokenizer to read their markers")
    found: list[tuple[int, int] | None] = []
    for run in runs:
        marker = str(tokenizer.convert_ids_to_tokens(sample.ids[run[0] - 1])) if run[0] else ""
        match = _MARKER.fullmatch(marker)
        if (
            match is None
            and marker != getattr(sample.processor, "global_image_tag", None)
            and marker != getattr(sample.processor, "global_image_token", None)
        ):
            raise PlacementError(f"the marker {marker!r} before a sub-image is not known")
        found.append((int(match[1]), int(match[2])) if match else None)
    return found
