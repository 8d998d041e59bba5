"""Mllama (Llama 3.2 Vision): image keys live in cross-attention layers, none in the decoder's sequence."""

from collections.abc import Mapping
from typing import Any

import torch

from lvlmscope.families.default import DefaultFamily

__all__ = ["MllamaFamily"]


class MllamaFamily(DefaultFamily):
    """A trace's key axis begins with the image keys of the cross-attention layers; the text's positions follow."""

    name = "mllama"

    def claims(self, model: torch.nn.Module) -> bool:
        """By model type."""
        return getattr(model.config, "model_type", "") == "mllama"

    def outside_keys(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> int:
        """Patches and class token of every tile in use."""
        vision: Any = model.config.vision_config  # type: ignore[union-attr]
        used = inputs.get("aspect_ratio_mask")
        tiles = int(vision.max_num_tiles) if used is None else int(used.sum((-2, -1)).max())
        return int(tiles * ((vision.image_size // vision.patch_size) ** 2 + 1))

    def image_mask(self, model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """None: the placeholder in the sequence is a word that shows nothing."""
        del model
        return torch.zeros_like(ids, dtype=torch.bool)
