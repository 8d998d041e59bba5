"""Which decoder layers have attention, and the ones among them that an intervention's option names."""

from typing import Any

from lvlmscope.attention.layer_bands import LayerSpec, resolve_layers
from lvlmscope.models import decoder_shape
from lvlmscope.runtime.protocol import ModelInfo

__all__ = ["attention_layers", "chosen_layers"]


def attention_layers(model_info: ModelInfo) -> tuple[int, ...]:
    """Numbers of the decoder layers that have attention, by the config's `layer_types`.

    Returns:
        Ascending numbers: all, unless the decoder has recurrent or convolutional layers (Qwen3.5, LFM2-VL).
    """
    config: Any = getattr(model_info.model, "config", None)
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    return decoder_shape.attention_layers(text, model_info.num_layers)


def chosen_layers(spec: LayerSpec, model_info: ModelInfo, *, name: str = "layers") -> tuple[int, ...]:
    """The layers with attention that an option names; a band counts these alone.

    Args:
        spec: As in `lvlmscope.resolve_layers`.
        name: What the option is called, for messages.

    Raises:
        ModelInputError: A number outside the model, or of a layer without attention.
    """
    return resolve_layers(spec, model_info.num_layers, attention_layers(model_info), name=name)
