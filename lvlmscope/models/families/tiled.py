"""InternVL, Aya Vision and Gemma3: an image cut into square tiles or crops, shown with the whole image as tile 0."""

from collections.abc import Sequence
from itertools import product
from math import ceil, floor
from typing import Any

from lvlmscope.models.families.grid_family import GridFamily, Sample
from lvlmscope.models.families.patch_grids import Axis, Pane, PlacementError, Visual, even
from lvlmscope.models.families.registry import family
from lvlmscope.models.families.square_inputs import tower_patches
from lvlmscope.traces.token_layout import Box

__all__ = ["AyaVisionFamily", "Gemma3Family", "InternVLFamily"]

Size = tuple[int, int]


@family
class InternVLFamily(GridFamily):
    """Tiles in reading order, then a thumbnail, in one run of tokens; patches are merged into square blocks."""

    name = "internvl"
    model_types = ("internvl",)

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """One image per run; several tiles need the image's size and its processor."""
        config = sample.config
        side, patches, patch = tower_patches(config.vision_config, sample.pixels)
        block = int(1 / config.downsample_ratio)
        count = patches // block
        found = []
        for run, size in zip(sample.runs, sample.images(len(sample.runs)), strict=True):
            tiles, rest = divmod(len(run), count**2)
            if rest:
                raise PlacementError(f"{len(run)} tokens of an image where a tile gives {count**2}")
            boxes = _canvas(size, tiles, side, sample.settings)
            found.append(_tiled(size, boxes, side, (count, patch * block)))
        return found


@family
class AyaVisionFamily(GridFamily):
    """Tiles in reading order, then the whole image, each a run of tokens after its marker."""

    name = "aya_vision"
    model_types = ("aya_vision",)

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """As many runs per image as its size gives; without sizes a single run only."""
        config, runs = sample.config, sample.runs
        side, patches, patch = tower_patches(config.vision_config, sample.pixels)
        block = int(config.downsample_factor)
        tiles = [1] * max(len(sample.sizes), 1)
        if sample.sizes and len(runs) > len(tiles):
            tiles = [len(_canvas(size, None, side, sample.settings)) for size in sample.sizes]
        if sum(tiles) != len(runs):
            raise PlacementError(_runs_reason(len(runs), sample, sum(tiles)))
        return [
            _tiled(size, _canvas(size, number, side, sample.settings), side, (patches // block, patch * block))
            for size, number in zip(sample.images(len(tiles)), tiles, strict=True)
        ]


@family
class Gemma3Family(GridFamily):
    """The whole image stretched to a square, then perhaps crops of it (pan and scan); patches are pooled."""

    name = "gemma3"
    model_types = ("gemma3",)

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """A run per image, or as many more as pan and scan cuts; without sizes a single run only."""
        config, runs = sample.config, sample.runs
        side, patches, patch = tower_patches(config.vision_config, sample.pixels)
        across = int(config.mm_tokens_per_image**0.5)
        crops: list[list[Box]] = [[] for _ in sample.sizes or (None,)]
        if sample.sizes and len(runs) > len(crops):
            crops = [_pan_and_scan(size, sample.processor) for size in sample.sizes]
        if len(crops) + sum(map(len, crops)) != len(runs):
            raise PlacementError(_runs_reason(len(runs), sample, len(crops) + sum(map(len, crops))))
        found = []
        for size, parts in zip(sample.images(len(crops)), crops, strict=True):
            width, height = size or (side, side)
            boxes = [(0.0, 0.0, float(width), float(height)), *parts]
            found.append(_tiled(size, boxes, side, (across, patch * (patches // across)), whole_first=True))
        return found


def _runs_reason(runs: int, sample: Sample, expected: int) -> str:
    if not sample.sizes:
        return f"{runs} tiles or images, and no image to tell which is which"
    return f"{runs} tiles in the prompt where the images give {expected}"


def _tiled(
    size: Size | None, boxes: Sequence[Box], side: int, grid: tuple[int, int], whole_first: bool = False
) -> Visual:
    """One pane per box; the one that shows the whole image, last or first, is tile 0."""
    panes = []
    for number, (left, top, right, bottom) in enumerate(boxes):
        width, height = size or (side, side)
        across = Axis(length=float(width), start=-left * side / (right - left), scale=(right - left) / side)
        down = Axis(length=float(height), start=-top * side / (bottom - top), scale=(bottom - top) / side)
        spans = even(*grid)
        tile = number if whole_first else (number + 1) % len(boxes)
        panes.append(Pane(rows=down.spans(spans), columns=across.spans(spans), tile=tile))
    return Visual(panes=tuple(panes), size=size or (side, side), pixels="input" if size is None else "image")


def _canvas(size: Size | None, tiles: int | None, side: int, settings: Any) -> list[Box]:
    """Boxes of the tiles and the thumbnail that GOT-OCR2's processor makes, in image pixels.

    Args:
        size: Width and height of the image, None when unknown.
        tiles: How many there are, thumbnail included; None for as many as the processor would make.
        side: Width of a tile.
        settings: The image processor.

    Returns:
        Left, top, right, bottom of each.

    Raises:
        PlacementError: They cannot be placed, or the processor would make another number.
    """
    width, height = size or (side, side)
    whole = (0.0, 0.0, float(width), float(height))
    if tiles == 1:
        return [whole]
    if size is None or settings is None:
        raise PlacementError("which tile lies where is not known without the image's size and its processor")
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    tile = dict(settings.size)
    columns, rows = get_optimal_tiled_canvas(
        (height, width), (tile["height"], tile["width"]), settings.min_patches, settings.max_patches
    )
    made = columns * rows + (columns * rows > 1)
    if tile["width"] != side or tile["height"] != side:
        raise PlacementError(
            f"the processor cuts tiles of {tile['width']} x {tile['height']} for a tower of {side} x {side}"
        )
    if tiles is not None and tiles != made:
        raise PlacementError(f"{tiles} tiles in the prompt where the image of {width} x {height} gives {made}")
    parts = [
        (width * column / columns, height * row / rows, width * (column + 1) / columns, height * (row + 1) / rows)
        for row, column in product(range(rows), range(columns))
    ]
    return [*parts, whole] if len(parts) > 1 else [whole]


# Gemma3Processor's own defaults, which its image processor does not hold
_PAN_AND_SCAN = {"min_crop_size": 256, "max_num_crops": 4, "min_ratio_to_activate": 1.2}


def _pan_and_scan(size: Size, processor: Any) -> list[Box]:
    """Crops along the longer edge, as ``Gemma3ImageProcessor.pan_and_scan`` cuts them."""
    defaults = getattr(processor, "images_kwargs", {})
    names = {name: f"pan_and_scan_{name}" for name in _PAN_AND_SCAN}
    smallest, most, ratio = (defaults.get(names[name], value) for name, value in _PAN_AND_SCAN.items())
    long, short = max(size), min(size)
    if long / short < ratio:
        return []
    count = min(most, max(2, min(floor(long / smallest), floor(long / short + 0.5))))
    step = ceil(long / count)
    if min(step, short) < smallest:
        return []
    edges = [(float(step * index), float(min(step * (index + 1), long))) for index in range(count)]
    if size[0] >= size[1]:
        return [(low, 0.0, high, float(short)) for low, high in edges]
    return [(0.0, low, float(short), high) for low, high in edges]
