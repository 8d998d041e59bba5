"""Padded batches of models whose logits depend on the padding."""

import torch

from lvlmscope.errors import ModelInputError, message
from lvlmscope.models.families import Family

__all__ = ["refuse_padding"]


def refuse_padding(model: torch.nn.Module, family: Family, mask: torch.Tensor) -> None:
    """Refuse a padded batch of a model that gives its samples other logits than alone.

    Args:
        family: Its family's rules.
        mask: Attention mask of the batch ``[batch, prompt]``.

    Raises:
        ModelInputError: Something is padded, and the family knows a reason.
    """
    if bool((mask == 0).any()) and (reason := family.padding_reason(model)):
        got = f"a padded batch for {type(model).__name__}, {reason}"
        fix = "one sample at a time, or samples of equal length"
        raise ModelInputError(message(got, "samples without padding", f"pass {fix}", task="use a padded batch"))
