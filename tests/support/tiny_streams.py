"""Tiny models whose decoder has another shape: parallel residual streams, layers with unequal numbers of heads."""

from collections.abc import Callable
from typing import Any

import transformers as tf

from tests.support import tiny_families
from tests.support.tiny_families import SPECIAL, TOWER, FamilyCase, Sample
from tests.support.tiny_models import IMAGE
from tests.support.tiny_others import square
from tests.support.tiny_rest import MIXED, SMALL
from tests.support.tiny_variants import EXPERTS, INDEXER, LATENT

STREAMS: dict[str, Callable[..., FamilyCase]] = {}
streams = tiny_families.registering(STREAMS)


@streams
def gemma3n(batch: int) -> tuple[Any, list[Sample]]:
    """Four streams [stream, batch, token, hidden], a list of inner widths, layers with shared keys."""
    text = SPECIAL | SMALL | {"head_dim": 12, "intermediate_size": [64, 96, 64, 96], "laurel_rank": 8}
    text |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 220, "num_kv_shared_layers": 2}
    text |= {"sliding_window": 12, "layer_types": MIXED, "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0]}
    audio = {"hidden_size": 32, "conf_num_hidden_layers": 1, "conf_num_attention_heads": 2, "input_feat_size": 16}
    audio |= {"vocab_size": 4, "vocab_offset": 216, "sscp_conv_channel_size": (8, 4)}
    config = tf.Gemma3nConfig(
        text_config=text, audio_config=audio, image_token_id=IMAGE, audio_token_id=206, vision_soft_tokens_per_image=16
    )
    # The tower of the released models is one of timm, which is not installed
    tower = tf.SiglipVisionConfig(**TOWER, image_size=32, patch_size=8)
    tower.vocab_size, tower.vocab_offset, tower.rms_norm_eps = 4, 212, 1e-6
    vars(config)["vision_config"] = tower
    return tf.Gemma3nForConditionalGeneration(config), square(batch)


def step3p7() -> Any:
    """6 heads in windowed layers, 4 in the others."""
    text = SPECIAL | SMALL | {"head_dim": 12, "num_experts_per_tok": 2, "num_local_experts": 4, "n_routed_experts": 4}
    text |= {"moe_intermediate_size": 32, "share_expert_dim": 32, "sliding_window": 12, "layer_types": MIXED}
    text |= {"num_sliding_attention_heads": 6}
    vision = TOWER | {"image_size": 64, "patch_size": 4}
    config = tf.Step3p7Config(text_config=text, vision_config=vision, image_token_id=IMAGE)
    return tf.Step3p7ForConditionalGeneration(config).eval()


def dots3_note() -> Any:
    """4 heads in windowed layers, 6 in the others."""
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 6}
    text |= {"num_key_value_heads": 6, "max_position_embeddings": 512, "q_lora_rank": 24, "head_dim": 16}
    text |= {"sliding_window": 8, "shared_experts_intermediate_size": 32} | LATENT | INDEXER | EXPERTS
    window = {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 16}
    window |= {"head_dim": 16, "qk_nope_head_dim": 8, "v_head_dim": 12, "qk_rope_head_dim": 8}
    text |= {f"swa_{name}": value for name, value in window.items()}
    vision = TOWER | {"patch_size": 8, "adapter_in_dim": 32, "adapter_out_dim": 48, "moe_intermediate_size": 32}
    vision |= {"mlp_layer_types": ["dense", "dense"], "num_local_experts": 4}
    audio = TOWER | {"adapter_input_size": 32, "adapter_out_dim": 48, "feature_size": 16, "downsample_hidden_size": 16}
    config = tf.Dots3NoteConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        image_token_id=IMAGE,
        video_token_id=201,
        audio_token_id=204,
    )
    return tf.Dots3NoteForConditionalGeneration(config).eval()


UNEQUAL: dict[str, Callable[[], Any]] = {"step3p7": step3p7, "dots3_note": dots3_note}
