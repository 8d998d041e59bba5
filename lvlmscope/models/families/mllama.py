"""Mllama (Llama 3.2 Vision): image keys are in cross-attention layers only, none in the decoder's sequence."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch

from lvlmscope.models.families.grid_family import GridFamily, Sample
from lvlmscope.models.families.patch_grids import Axis, Pane, PlacementError, Visual, even
from lvlmscope.models.families.registry import family
from lvlmscope.models.families.square_inputs import tower_patches

__all__ = ["MllamaFamily"]


@family
class MllamaFamily(GridFamily):
    """A trace's key axis begins with the image keys of the cross-attention layers; the text's positions follow."""

    name = "mllama"
    model_types = ("mllama",)
    per_sample = ("input_ids", "attention_mask", "aspect_ratio_ids")

    def outside_keys(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> int:
        """Patches and class token of every tile in use."""
        vision: Any = model.config.vision_config  # type: ignore[union-attr]
        used = inputs.get("aspect_ratio_mask")
        tiles = int(vision.max_num_tiles) if used is None else int(used.sum((-2, -1)).max())
        return int(tiles * ((vision.image_size // vision.patch_size) ** 2 + 1))

    def image_mask(self, model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """No position: the placeholder in the sequence carries no image features."""
        del model
        return torch.zeros_like(ids, dtype=torch.bool)

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """The tiles of each image in reading order, each a class token and a grid of patches."""
        ids = sample.inputs.get("aspect_ratio_ids")
        if ids is None:
            raise PlacementError("the inputs have no aspect_ratio_ids")
        vision = sample.config.vision_config
        # An id of 0 stands for an image that the sample does not have
        shapes = [vision.supported_aspect_ratios[number - 1] for number in ids[0].tolist() if number]
        return [_visual(vision, tuple(s), size) for s, size in zip(shapes, sample.images(len(shapes)), strict=True)]


def _visual(vision: Any, shape: tuple[int, int], size: tuple[int, int] | None) -> Visual:
    """Tiles of a canvas (rows, columns of tiles), in whose upper left corner the image is fitted."""
    side, patches, patch = tower_patches(vision)
    rows, columns = shape
    width, height = made = size or (columns * side, rows * side)
    if size is not None:
        from transformers.models.mllama.image_processing_pil_mllama import get_image_size_fit_to_canvas

        fitted = get_image_size_fit_to_canvas(height, width, rows * side, columns * side, side)
        made = (int(fitted[1]), int(fitted[0]))
    across, down = Axis.stretched(width, made[0]), Axis.stretched(height, made[1])
    several = rows * columns > 1
    panes = tuple(
        Pane(
            rows=down.spans(even(patches, patch, start=row * side)),
            columns=across.spans(even(patches, patch, start=column * side)),
            tile=row * columns + column + several,
            leading=1,
        )
        for row, column in product(range(rows), range(columns))
    )
    return Visual(panes=panes, size=(width, height), pixels="input" if size is None else "image")
