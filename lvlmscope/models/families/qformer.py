"""BLIP-2 and InstructBLIP: a Q-Former's query tokens before the text, and a language model that generates by itself."""

from collections.abc import Sequence
from typing import Any

import torch

from lvlmscope.models.families.generic import DefaultFamily, unplaced
from lvlmscope.traces.token_layout import ImageLayout

__all__ = ["QFormerFamily"]


class QFormerFamily(DefaultFamily):
    """Models whose ``generate`` embeds the prompt and calls ``language_model.generate``."""

    name = "qformer"
    max_images: int | None = 1

    def claims(self, model: torch.nn.Module) -> bool:
        """BLIP-2, InstructBLIP and its video kin."""
        return getattr(model.config, "model_type", "") in ("blip-2", "instructblip", "instructblipvideo")

    def core(self, model: torch.nn.Module) -> torch.nn.Module:
        """The language model, whose forward runs at every step."""
        core: torch.nn.Module = model.language_model  # type: ignore[assignment]
        return core

    def image_layouts(
        self,
        model: torch.nn.Module,
        keys: torch.Tensor,
        inputs: dict[str, Any],
        *,
        processor: Any = None,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> tuple[ImageLayout, ...]:
        """Queries, each of which looks at the whole image: none has a place."""
        del model, inputs, processor
        return unplaced(keys.tolist(), sizes, "a query token of a Q-Former looks at the whole image, not at a part")
