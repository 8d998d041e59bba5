"""What differs between model families, one small file each; ``register_family`` adds one from outside."""

import torch

from lvlmscope.families.default import DefaultFamily
from lvlmscope.families.llava import LlavaFamily
from lvlmscope.families.mllama import MllamaFamily
from lvlmscope.families.protocol import Family
from lvlmscope.families.qformer import QFormerFamily

__all__ = [
    "DefaultFamily",
    "Family",
    "LlavaFamily",
    "MllamaFamily",
    "QFormerFamily",
    "family_of",
    "register_family",
]

_FAMILIES: list[Family] = [
    LlavaFamily(),
    MllamaFamily(),
    QFormerFamily(),
]


def register_family(family: Family) -> None:
    """Put a family before all others, for a model this package does not know.

    Args:
        family: Its rules.
    """
    _FAMILIES.insert(0, family)


def family_of(model: torch.nn.Module) -> Family:
    """The rules for a model: the first family that claims it, else the generic ones.

    Args:
        model: A bare model.

    Returns:
        The family.
    """
    return next((family for family in _FAMILIES if family.claims(model)), DefaultFamily())
