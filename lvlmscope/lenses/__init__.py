"""Logit lenses on answer and image tokens. Knows the model's output matrix, no figure."""

from lvlmscope.lenses.answer_lens import logit_lens
from lvlmscope.lenses.image_token_lens import internal_confidence, patch_lens

__all__ = ["internal_confidence", "logit_lens", "patch_lens"]
