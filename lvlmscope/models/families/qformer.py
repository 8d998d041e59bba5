"""BLIP-2 and InstructBLIP: a Q-Former's query tokens before the text; the language model generates."""

import torch

from lvlmscope.models.families.generic import DefaultFamily
from lvlmscope.models.families.registry import family

__all__ = ["QFormerFamily"]


@family
class QFormerFamily(DefaultFamily):
    """Models whose ``generate`` embeds the prompt and calls ``language_model.generate``."""

    name = "qformer"
    max_images: int | None = 1

    def claims(self, model: torch.nn.Module) -> bool:
        """BLIP-2, InstructBLIP and InstructBLIP-Video."""
        return getattr(model.config, "model_type", "") in ("blip-2", "instructblip", "instructblipvideo")

    def core(self, model: torch.nn.Module) -> torch.nn.Module:
        """The language model, whose forward runs at every step."""
        core: torch.nn.Module = model.language_model  # type: ignore[assignment]
        return core

    def image_token_id(self, model: torch.nn.Module) -> int | None:
        """Id of the placeholder of the query tokens; InstructBLIP-Video names it for video only."""
        found = super().image_token_id(model)
        return getattr(model.config, "video_token_id", None) if found is None else found

    def unplaced_reason(self, model: torch.nn.Module) -> str:
        """A query attends to the whole image."""
        del model
        return "a query token of a Q-Former looks at the whole image, not at a part"
