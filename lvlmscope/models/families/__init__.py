"""What differs between model families, one file each; ``@family`` or ``register_family`` adds one from outside."""

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
from lvlmscope.models.families.registry import FAMILIES, family, family_of, register_family
from lvlmscope.models.families.tiled import AyaVisionFamily, Gemma3Family, InternVLFamily

__all__ = [
    "FAMILIES",
    "AyaVisionFamily",
    "DefaultFamily",
    "Family",
    "Gemma3Family",
    "GridFamily",
    "IdeficsFamily",
    "InternVLFamily",
    "LlavaFamily",
    "LlavaNextFamily",
    "LlavaOnevisionFamily",
    "MllamaFamily",
    "PaliGemmaFamily",
    "PixtralFamily",
    "QFormerFamily",
    "QwenVLFamily",
    "family",
    "family_of",
    "register_family",
]
