"""Model types that cannot be traced, and why: no image token id in the prompt, or no writing token by token."""

from collections.abc import Mapping
from typing import Final

__all__ = ["NOT_TOKEN_BY_TOKEN", "NO_IMAGE_TOKENS"]

# Model type: why image keys cannot be found in the prompt's ids
NO_IMAGE_TOKENS: Final[Mapping[str, str]] = {
    "blip": "which shows the image to cross-attention in every layer of the decoder, and not to the prompt's sequence",
    "evolla": "which reads a protein and no image",
    "git": "which puts the image before the prompt's ids, where no id stands for it",
    "idefics": "which shows the image to cross-attention layers beside the decoder's, and not to the prompt's sequence",
    "kosmos-2": "which marks image positions by a mask of its own, image_embeds_position_mask, and not by a token id",
    "kosmos-2.5": "which marks image positions by a mask of its own, image_embeds_position_mask, and not by a token id",
    "mistral4": "a text-only model",
}

# Model type: what it does instead of writing one token after another
NOT_TOKEN_BY_TOKEN: Final[Mapping[str, str]] = {
    "diffusion_gemma": "which writes by diffusion, not token by token",
    "pi0": "which gives actions, no text",
}
