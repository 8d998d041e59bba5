"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: the image resized to whole patches, patches merged two by two, video frames."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch

from lvlmscope.models.families.grid_family import Counted, GridFamily, Sample
from lvlmscope.models.families.patch_grids import Axis, Pane, PlacementError, Visual, even
from lvlmscope.models.families.registry import family

__all__ = ["QwenVLFamily"]

_GRIDS = ("image_grid_thw", "video_grid_thw")


@family
class QwenVLFamily(GridFamily):
    """Grids come with the inputs, in patches; a frame of a video here is ``temporal_patch_size`` frames."""

    name = "qwen_vl"
    model_types = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """One grid per row of ``image_grid_thw``; one per group of frames for ``video_grid_thw``."""
        images, videos = (sample.rows_of(name) for name in _GRIDS)
        if not images and not videos:
            raise PlacementError("the inputs have no image_grid_thw and no video_grid_thw")
        vision = sample.config.vision_config
        sizes = sample.images(len(images)) if images else ()
        found = [_visual(vision, grid, size) for grid, size in zip(images, sizes, strict=True)]
        return found + [_visual(vision, grid, None, video=True) for grid in videos]

    def counted(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> tuple[Counted, ...]:
        """The grids, a row per image or video."""
        config: Any = model.config
        merge = int(config.vision_config.spatial_merge_size)
        return tuple(
            Counted(
                name=name,
                token=token,
                counts=tuple(prod(row) // merge**2 for row in torch.as_tensor(inputs[name]).tolist()),
            )
            for name, token in zip(_GRIDS, (self.image_token_id(model), config.video_token_id), strict=True)
            if inputs.get(name) is not None
        )


def _visual(vision: Any, grid: Sequence[int], size: tuple[int, int] | None, *, video: bool = False) -> Visual:
    patch, merge = int(vision.patch_size), int(vision.spatial_merge_size)
    frames, rows, columns = grid
    made = (columns * patch, rows * patch)
    across, down = (Axis.stretched(length, pixels) for length, pixels in zip(size or made, made, strict=True))
    ys, xs = (axis.spans(even(count // merge, patch * merge)) for axis, count in ((down, rows), (across, columns)))
    panes = tuple(Pane(rows=ys, columns=xs, frame=frame) for frame in range(frames))
    return Visual(panes=panes, size=size or made, pixels="input" if size is None else "image", video=video)
