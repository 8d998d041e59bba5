"""LLaVA-1.5: one square image, resized and centre-cropped, one token per patch in reading order."""

from collections.abc import Sequence

import torch

from lvlmscope.models.families.grid_family import GridFamily, Sample
from lvlmscope.models.families.patch_grids import PlacementError, Visual
from lvlmscope.models.families.registry import family
from lvlmscope.models.families.square_inputs import square_axes, square_visual, tower_patches

__all__ = ["LlavaFamily", "PaliGemmaFamily"]


@family
class LlavaFamily(GridFamily):
    """``LlavaForConditionalGeneration`` with a square vision tower (CLIP, SigLIP)."""

    name = "llava"
    max_images: int | None = 1
    model_types = ("llava",)

    def claims(self, model: torch.nn.Module) -> bool:
        """LLaVA with a tower of fixed image and patch size; Pixtral's tower keeps the image's shape."""
        vision = getattr(model.config, "vision_config", None)
        return super().claims(model) and getattr(vision, "model_type", "") != "pixtral"

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """One grid of patches per image."""
        side, patches, patch = tower_patches(sample.config.vision_config, sample.pixels)
        count, rest = divmod(len(sample.keys), patches**2)
        held = 0 if sample.pixels is None else len(sample.inputs["pixel_values"])
        if rest or (held and held != count):
            images = f" of {held} images" if held else ""
            raise PlacementError(f"{len(sample.keys)} image tokens{images} where an image gives {patches**2}")
        return [
            square_visual(size, square_axes(size, side, sample.settings), side, (patches, patch))
            for size in sample.images(count)
        ]


@family
class PaliGemmaFamily(LlavaFamily):
    """PaliGemma: the image stretched to SigLIP's square; several images follow each other directly."""

    name = "paligemma"
    max_images: int | None = None
    model_types = ("paligemma",)

    def prompt_sees_itself(self, model: torch.nn.Module) -> bool:
        """True: a prefix language model."""
        del model
        return True
