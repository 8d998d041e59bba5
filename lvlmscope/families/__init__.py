"""What differs between model families, one small file each; ``register_family`` adds one from outside."""

import torch

from lvlmscope.families.default import DefaultFamily
from lvlmscope.families.gridded import GridFamily
from lvlmscope.families.idefics import IdeficsFamily
from lvlmscope.families.llava import LlavaFamily, PaliGemmaFamily
from lvlmscope.families.llava_next import LlavaNextFamily, LlavaOnevisionFamily
from lvlmscope.families.mllama import MllamaFamily
from lvlmscope.families.pixtral import PixtralFamily
from lvlmscope.families.protocol import Family
from lvlmscope.families.qformer import QFormerFamily
from lvlmscope.families.qwen_vl import QwenVLFamily
from lvlmscope.families.tiled import AyaVisionFamily, Gemma3Family, InternVLFamily

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
