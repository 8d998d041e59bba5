"""Pixtral and Mistral3: the image keeps its shape; a break token, which is no image token, ends each row."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lvlmscope.models.families.grid_family import Counted, GridFamily, Sample
from lvlmscope.models.families.patch_grids import Axis, Pane, PlacementError, Visual, even
from lvlmscope.models.families.registry import family

__all__ = ["PixtralFamily"]


@family
class PixtralFamily(GridFamily):
    """Mistral3, and LLaVA with Pixtral's tower."""

    name = "pixtral"
    model_types = ("mistral3", "llava")

    def claims(self, model: torch.nn.Module) -> bool:
        """Models with Pixtral's vision tower."""
        vision = getattr(model.config, "vision_config", None)
        return super().claims(model) and getattr(vision, "model_type", "") == "pixtral"

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """One grid per row of ``image_sizes`` (height, width of the resized image)."""
        made = sample.rows_of("image_sizes")
        if not made:
            raise PlacementError("the inputs have no image_sizes")
        cell = _pixels_per_token(sample.config)
        return [
            _visual((width, height), size, cell)
            for (height, width), size in zip(made, sample.images(len(made)), strict=True)
        ]

    def counted(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> tuple[Counted, ...]:
        """``image_sizes``, a row per image."""
        config: Any = model.config
        rows, cell = torch.as_tensor(inputs.get("image_sizes", ())).tolist(), _pixels_per_token(config)
        counts = tuple((height // cell) * (width // cell) for height, width in rows)
        return (Counted(name="image_sizes", token=self.image_token_id(model), counts=counts),) if rows else ()


def _pixels_per_token(config: Any) -> int:
    return int(config.vision_config.patch_size) * int(getattr(config, "spatial_merge_size", 1))


def _visual(made: tuple[int, int], size: tuple[int, int] | None, cell: int) -> Visual:
    across, down = (Axis.stretched(length, pixels) for length, pixels in zip(size or made, made, strict=True))
    pane = Pane(rows=down.spans(even(made[1] // cell, cell)), columns=across.spans(even(made[0] // cell, cell)))
    return Visual(panes=(pane,), size=size or made, pixels="input" if size is None else "image")
