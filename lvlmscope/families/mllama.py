"""Mllama (Llama 3.2 Vision): image keys live in cross-attention layers, none in the decoder's sequence."""

import torch

from lvlmscope.families.default import DefaultFamily

__all__ = ["MllamaFamily"]


class MllamaFamily(DefaultFamily):
    """A trace's key axis begins with the image keys of the cross-attention layers; the text's positions follow."""

    name = "mllama"

    def claims(self, model: torch.nn.Module) -> bool:
        """By model type."""
        return getattr(model.config, "model_type", "") == "mllama"

    def image_mask(self, model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """None: the placeholder in the sequence is a word that shows nothing."""
        del model
        return torch.zeros_like(ids, dtype=torch.bool)
