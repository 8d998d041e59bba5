"""What differs between model families, one small file each; ``register_family`` adds one from outside."""

import torch

from lvlmscope.models.families.generic import DefaultFamily
from lvlmscope.models.families.grid_family import GridFamily
from lvlmscope.models.families.idefics import IdeficsFamily
from lvlmscope.models.families.llava import LlavaFamily, PaliGemmaFamily
from lvlmscope.models.families.llava_next import LlavaNextFamily, LlavaOnevisionFamily
from lvlmscope.models.families.mllama import MllamaFamily
from lvlmscope.models.families.pixtral import PixtralFamily
from lvlmscope.models.families.protocol import Family
from lvlmscope.models.families.qformer import QFormerFamily
from lvlmscope.models.families.qwen_vl import QwenVLFamily
from lvlmscope.models.families.tiled import AyaVisionFamily, Gemma3Family, InternVLFamily

__all__ = [
    "DefaultFamily",
    "Family",
    "GridFamily",
    "LlavaFamily",
    "MllamaFamily",
    "QFormerFamily",
    "family_of",
    "register_family",
]

_FAMILIES: list[Family] = [
    LlavaFamily(),
    LlavaNextFamily(),
    LlavaOnevisionFamily(),
    QwenVLFamily(),
    IdeficsFamily(),
    InternVLFamily(),
    Gemma3Family(),
    PaliGemmaFamily(),
    PixtralFamily(),
    AyaVisionFamily(),
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
