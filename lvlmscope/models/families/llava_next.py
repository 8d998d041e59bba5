"""LLaVA-NeXT and LLaVA-OneVision: an overview, then a mosaic of tiles without its padding, with newline tokens."""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any

import torch

from lvlmscope.models.families.grid_family import Counted, GridFamily, Sample
from lvlmscope.models.families.patch_grids import Axis, Pane, PlacementError, Span, Visual, even, merged
from lvlmscope.models.families.registry import family
from lvlmscope.models.families.square_inputs import tower_patches

__all__ = ["LlavaNextFamily", "LlavaOnevisionFamily"]

Size = tuple[int, int]


@family
class LlavaNextFamily(GridFamily):
    """Tile 0 is the overview; tile 1 is the whole mosaic, whose rows and columns run through all tiles."""

    name = "llava_next"
    model_types = ("llava_next",)

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """One overview and one mosaic per row of ``image_sizes`` (height, width of the image)."""
        sizes = sample.rows_of("image_sizes")
        if not sizes:
            raise PlacementError("the inputs have no image_sizes")
        sample.images(len(sizes))
        _check_tiles(sample)
        return [self._tiled(sample.config, (width, height)) for height, width in sizes]

    def counted(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> tuple[Counted, ...]:
        """``image_sizes``, a row per image."""
        config: Any = model.config
        rows = torch.as_tensor(inputs.get("image_sizes", ())).tolist()
        counts = tuple(self._tiled(config, (width, height)).tokens for height, width in rows)
        return (Counted(name="image_sizes", token=self.image_token_id(model), counts=counts),) if rows else ()

    def _tiled(self, config: Any, size: Size) -> Visual:
        (across, down), rows, columns = mosaic(config, size)
        detail = Pane(rows=down.spans(rows), columns=across.spans(columns), tile=1, newline="row")
        return Visual(panes=(overview(config, size), detail), size=size, pixels="image")


@family
class LlavaOnevisionFamily(LlavaNextFamily):
    """As LLaVA-NeXT; a large mosaic is shrunk, an image among several is not tiled, a video's frames are pooled."""

    name = "llava_onevision"
    model_types = ("llava_onevision",)

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """Images from ``image_sizes`` and ``batch_num_images``, videos from the shape of their pixels."""
        found = [_video(sample.config, int(clip.shape[0])) for clip in sample.inputs.get("pixel_values_videos", ())]
        sizes = sample.rows_of("image_sizes")
        if sizes:
            _check_tiles(sample)
            sample.images(len(sizes))
            tiled = _tiled_images(sample.inputs, len(sizes))
            found += [self._image(sample.config, (w, h), one) for (h, w), one in zip(sizes, tiled, strict=True)]
        return found

    def counted(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> tuple[Counted, ...]:
        """``image_sizes`` and whether each image is tiled; a clip per video."""
        config: Any = model.config
        rows = torch.as_tensor(inputs.get("image_sizes", ())).tolist()
        tiled = _tiled_images(inputs, len(rows))
        images = [self._image(config, (w, h), one).tokens for (h, w), one in zip(rows, tiled, strict=True)]
        clips = [_video(config, int(clip.shape[0])).tokens for clip in inputs.get("pixel_values_videos", ())]
        entries = (
            Counted(name="image_sizes", token=self.image_token_id(model), counts=tuple(images)),
            Counted(name="pixel_values_videos", token=config.video_token_id, counts=tuple(clips)),
        )
        return tuple(entry for entry in entries if entry.name in inputs)

    def sample_inputs(self, model: torch.nn.Module, inputs: Mapping[str, Any], index: int) -> dict[str, Any]:
        """As in all families, with ``batch_num_images`` of the sample's own images."""
        own = super().sample_inputs(model, inputs, index)
        if inputs["input_ids"].shape[0] > 1 and "image_sizes" in own:
            entry = next(entry for entry in self.counted(model, inputs) if entry.name == "image_sizes")
            part = entry.part(inputs["input_ids"], index) or slice(0)
            flags = _tiled_images(inputs, len(entry.counts))[part]
            own["batch_num_images"] = torch.tensor([1] * len(flags) if all(flags) else [len(flags)])
        return own

    def _image(self, config: Any, size: Size, tiled: bool) -> Visual:
        if not tiled:
            return Visual(panes=(_squared(config, size),), size=size, pixels="image")
        (across, down), rows, columns = mosaic(config, size)
        _, patches, _ = tower_patches(config.vision_config)
        most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = sqrt(len(rows) * len(columns) / (most * patches**2))
        if ratio > 1.1:
            rows, columns = merged(rows, int(len(rows) // ratio)), merged(columns, int(len(columns) // ratio))
        detail = Pane(rows=down.spans(rows), columns=across.spans(columns), tile=1, newline="row")
        return Visual(panes=(overview(config, size), detail), size=size, pixels="image")


def overview(config: Any, size: Size) -> Pane:
    """The whole image stretched to one tile.

    Args:
        config: The model's config.
        size: Width and height of the image.

    Returns:
        The pane.
    """
    side, patches, patch = tower_patches(config.vision_config)
    spans = even(patches, patch)
    across, down = (Axis.stretched(length, side) for length in size)
    return Pane(rows=down.spans(spans), columns=across.spans(spans))


def mosaic(config: Any, size: Size) -> tuple[tuple[Axis, Axis], tuple[Span, ...], tuple[Span, ...]]:
    """The tiles as one grid: the image fitted into the best resolution, padded, cut, encoded, and unpadded.

    Args:
        config: The model's config.
        size: Width and height of the image.

    Returns:
        Where the mosaic's pixels lie (horizontally, vertically), and its rows and columns in those pixels.
    """
    side, patches, patch = tower_patches(config.vision_config)
    width, height = size
    best = _best_resolution(size, config.image_grid_pinpoints)
    lines = [
        [span for tile in range(length // side) for span in even(patches, patch, start=tile * side)] for length in best
    ]
    # transformers' get_patch_output_size; the other direction is padded, one pixel less before than after
    if best[0] / width < best[1] / height:
        resized = (best[0], min(ceil(height * (best[0] / width)), best[1]))
    else:
        resized = (min(ceil(width * (best[1] / height)), best[0]), best[1])
    across, down = (
        Axis(length=float(length), start=float((whole - made) // 2), scale=length / made)
        for length, made, whole in zip(size, resized, best, strict=True)
    )
    # transformers' unpad_image, which counts in tokens
    columns, rows = lines
    if width / height > len(columns) / len(rows):
        padding = (len(rows) - int(round(height * (len(columns) / width), 7))) // 2
        rows = rows[padding : len(rows) - padding]
    else:
        padding = (len(columns) - int(round(width * (len(rows) / height), 7))) // 2
        columns = columns[padding : len(columns) - padding]
    return (across, down), tuple(rows), tuple(columns)


def _best_resolution(size: Size, pinpoints: Sequence[Sequence[int]]) -> Size:
    from transformers.image_processing_utils import select_best_resolution

    height, width = select_best_resolution((size[1], size[0]), [tuple(point) for point in pinpoints])
    return int(width), int(height)


def _squared(config: Any, size: Size) -> Pane:
    """The image padded to a square and stretched to one tile, with a newline token at the end."""
    side, patches, patch = tower_patches(config.vision_config)
    scale = max(size) / side
    across, down = (Axis(length=float(length), start=(max(size) - length) // 2 / scale, scale=scale) for length in size)
    spans = even(patches, patch)
    return Pane(rows=down.spans(spans), columns=across.spans(spans), newline="end")


def _video(config: Any, frames: int) -> Visual:
    """Frames pooled to half their patches along each direction, and one newline token after the last."""
    side, patches, patch = tower_patches(config.vision_config)
    spans = Axis(length=float(side)).spans(merged(even(patches, patch), ceil(patches / 2)))
    panes = tuple(
        Pane(rows=spans, columns=spans, frame=frame, newline="end" if frame == frames - 1 else "none")
        for frame in range(frames)
    )
    return Visual(panes=panes, size=(side, side), pixels="input", video=True)


def _tiled_images(inputs: Mapping[str, Any], count: int) -> list[bool]:
    """Whether each image of the inputs is tiled: those that are alone in their sample."""
    numbers = inputs.get("batch_num_images")
    if numbers is None:
        return [True] * count
    tiled = [number == 1 for number in torch.as_tensor(numbers).tolist() for _ in range(number)]
    if len(tiled) != count:
        raise PlacementError(f"batch_num_images counts {len(tiled)} images, image_sizes {count}")
    return tiled


def _check_tiles(sample: Sample) -> None:
    """Refuse tiles of other sizes, and a processor that cuts others, than the model puts together."""
    side, _, _ = tower_patches(sample.config.vision_config)
    if sample.pixels not in (None, (side, side)):
        raise PlacementError(f"tiles of {sample.pixels} pixels where the model puts together tiles of {side}")
    if sample.settings is None:
        return
    size = dict(sample.settings.size)
    made = size.get("height") or size.get("shortest_edge")
    if made != side:
        raise PlacementError(f"the processor cuts tiles of {made} pixels for a tower of {side}")
    points = [sorted(map(tuple, owner.image_grid_pinpoints)) for owner in (sample.settings, sample.config)]
    if points[0] != points[1]:
        raise PlacementError("the processor's image_grid_pinpoints are not the model's")
