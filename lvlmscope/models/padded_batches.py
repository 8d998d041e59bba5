"""Padded batches of models whose logits depend on the padding."""

import weakref
from typing import Any, Final

import torch

from lvlmscope.errors import ModelInputError, message
from lvlmscope.models.families import Family

__all__ = ["note_padding", "padding_mask", "padding_reason", "refuse_padding"]

# What `lvlmscope.check` measured of models whose family knows no reason
_MEASURED: "Final[weakref.WeakKeyDictionary[torch.nn.Module, str]]" = weakref.WeakKeyDictionary()


def padding_reason(model: torch.nn.Module, family: Family) -> str:
    """Why a sample of a padded batch gets other logits than alone.

    Args:
        model: The bare model.
        family: Its family's rules.

    Returns:
        What the family says, else what ``lvlmscope.check`` measured of this model; empty where nothing is known.
    """
    return family.padding_reason(model) or _MEASURED.get(model, "")


def note_padding(model: torch.nn.Module, reason: str) -> None:
    """Keep what was measured of a model, in place of what was measured before.

    Args:
        model: The bare model.
        reason: As `padding_reason` gives it; empty for a model whose logits do not depend on the padding.
    """
    _MEASURED.pop(model, None)
    if reason:
        _MEASURED[model] = reason


def padding_mask(ids: torch.Tensor, mask: Any, settings: Any) -> torch.Tensor:
    """The mask that ``generate`` works with: the one given, else by the pad token, as transformers 5.23 infers it.

    Args:
        ids: Prompt ids ``[batch, prompt]``.
        mask: What was given for ``attention_mask``.
        settings: The generation config in force.

    Returns:
        Attention mask ``[batch, prompt]``.
    """
    if isinstance(mask, torch.Tensor) and mask.dim() == 2:
        return mask
    pad = settings.pad_token_id
    ends = torch.as_tensor([] if settings.eos_token_id is None else settings.eos_token_id).flatten().tolist()
    return torch.ones_like(ids) if pad is None or pad in ends else ids.ne(pad).long()


def refuse_padding(model: torch.nn.Module, family: Family, mask: torch.Tensor) -> None:
    """Refuse a padded batch of a model that gives its samples other logits than alone.

    Args:
        model: The bare model.
        family: Its family's rules.
        mask: Attention mask of the batch ``[batch, prompt]``.

    Raises:
        ModelInputError: Something is padded, and a reason is known.
    """
    if (reason := padding_reason(model, family)) and bool((mask == 0).any()):
        got = f"a padded batch for {type(model).__name__}, {reason}"
        fix = "one sample at a time, or samples of equal length"
        raise ModelInputError(message(got, "samples without padding", f"pass {fix}", task="use a padded batch"))
