"""Which of the installed transformers' vision-language models can be traced, and how well that is known."""

import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

__all__ = ["ModelSupport", "list_models"]

# Families whose rows, batches and gradients are compared with eager attention's by the test suite
_NAMED = {
    "llava": "LLaVA-1.5, Pixtral as LLaVA",
    "llava_next": "LLaVA-NeXT",
    "llava_onevision": "LLaVA-OneVision",
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL: images and video",
    "qwen3_vl": "Qwen3-VL",
    "idefics3": "Idefics3",
    "smolvlm": "SmolVLM",
    "internvl": "InternVL",
    "gemma3": "Gemma3",
    "paligemma": "PaliGemma",
    "mistral3": "Mistral3",
    "aya_vision": "Aya Vision",
    "instructblip": "InstructBLIP with a decoder-only language model",
    "mllama": "Llama 3.2 Vision; interventions are refused",
    "lfm2_vl": "LFM2-VL: replayed from the start",
    "qwen3_5": "Qwen3.5: replayed from the start",
    "llama4": "Llama 4",
    "blip-2": "BLIP-2 with a decoder-only language model",
    "idefics2": "Idefics2",
    "cohere2_vision": "Command A Vision",
    "glm4v": "GLM-4V",
    "gemma4": "Gemma 4",
    "vipllava": "ViP-LLaVA",
    "aria": "Aria",
}
_NOT_AUTOREGRESSIVE = {"diffusion_gemma": "writes by diffusion, not token by token", "pi0": "gives actions, no text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSupport:
    """One model type of the installed transformers.

    Attributes:
        model_type: As in its config.
        model_class: Name of the class.
        status: "verified": the test suite compares it with eager attention; "generic": served by the rules for all,
            and checked numerically when it is loaded; "unsupported".
        note: What is special, or the reason.
    """

    model_type: str
    model_class: str
    status: Literal["verified", "generic", "unsupported"]
    note: str


def list_models() -> tuple[ModelSupport, ...]:
    """The image-text-to-text models of the installed transformers, in alphabetical order.

    Returns:
        One entry per model type.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES

    found = []
    for model_type, model_class in sorted(NAMES.items()):
        # A model type without a modeling file of its own uses another's class
        homes = [model_type, *(name for name, other in sorted(NAMES.items()) if other == model_class)]
        configs = [CONFIG_MAPPING[name] for name in homes if name in CONFIG_MAPPING]
        reason = _reason_against(model_type, configs)
        if reason:
            status: Literal["verified", "generic", "unsupported"] = "unsupported"
        else:
            status = "verified" if model_type in _NAMED else "generic"
        note = reason or _NAMED.get(model_type, "checked numerically when it is loaded")
        found.append(ModelSupport(model_type=model_type, model_class=model_class, status=status, note=note))
    return tuple(found)


def _reason_against(model_type: str, configs: list[type]) -> str:
    if model_type in _NOT_AUTOREGRESSIVE:
        return _NOT_AUTOREGRESSIVE[model_type]
    if any(getattr(config, "is_encoder_decoder", False) for config in configs) or "encoder-decoder" in model_type:
        return "an encoder-decoder: its prompt lies outside the decoder's sequence"
    packages = [Path(inspect.getfile(config)).parent for config in configs]
    files = next((found for package in packages if (found := sorted(package.glob("modeling_*.py")))), [])
    sources = [path.read_text(encoding="utf-8") for path in files]
    if not sources:
        return "its modeling file is not installed"
    text = "\n".join(sources)
    if "is_encoder_decoder=True" in text and "AutoModel" not in text:
        return "an encoder-decoder: its prompt lies outside the decoder's sequence"
    if "ALL_ATTENTION_FUNCTIONS" not in text and "AutoModel" not in text:
        return "its attention is not on the attention registry"
    missing = [name for name in ("timm", "torchvision") if f"import {name}" in text and find_spec(name) is None]
    return f"needs {', '.join(missing)}, which is not installed" if missing else ""
