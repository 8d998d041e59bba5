"""More tiny models of transformers' image-text-to-text mapping, for the file of verified models."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf

from tests.support import tiny_families
from tests.support.tiny_families import (
    BEGIN,
    END,
    MROPE,
    ONE,
    QWEN_TOWER,
    SPECIAL,
    TOWER,
    VIDEO,
    FamilyCase,
    Sample,
    llama,
    pixels,
    prompt,
    tower,
)
from tests.support.tiny_models import IMAGE
from tests.support.tiny_others import square

MORE: dict[str, Callable[..., FamilyCase]] = {}
INTERLEAVED = MROPE | {"mrope_interleaved": True}
WIDE_TOWER = QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2, "num_experts": 4}
GLM_EXPERTS = {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1}
GLM_TOKENS = {
    "image_start_token_id": BEGIN,
    "image_end_token_id": END,
    "video_start_token_id": 204,
    "video_end_token_id": 205,
}
more = tiny_families.registering(MORE)


def qwen_inputs(batch: int, **text: Any) -> tuple[list[Sample], dict[str, Any]]:
    """Samples of Qwen's patches and a text config with more options."""
    samples, options = tiny_families._qwen(batch, ONE)
    options["text_config"] |= text
    return samples, options


@more
def qwen3_vl_moe(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = qwen_inputs(batch, head_dim=16, rope_parameters=INTERLEAVED, **EXPERTS)
    vision = WIDE_TOWER | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    return tf.Qwen3VLMoeForConditionalGeneration(tf.Qwen3VLMoeConfig(**options, vision_config=vision)), samples


@more
def qwen3_5_moe(batch: int) -> tuple[Any, list[Sample]]:
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
    rope = INTERLEAVED | {"partial_rotary_factor": 1.0}
    types = ["linear_attention", "full_attention"] * 2
    samples, options = qwen_inputs(
        batch,
        head_dim=16,
        num_hidden_layers=4,
        linear_num_value_heads=4,
        rope_parameters=rope,
        layer_types=types,
        shared_expert_intermediate_size=32,
        **linear,
        **EXPERTS,
    )
    options["text_config"].pop("intermediate_size")
    vision = WIDE_TOWER | {"num_position_embeddings": 64}
    return tf.Qwen3_5MoeForConditionalGeneration(tf.Qwen3_5MoeConfig(**options, vision_config=vision)), samples


def _glm(batch: int, config: Any, model: Any, **text: Any) -> tuple[Any, list[Sample]]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0}
    samples, options = qwen_inputs(batch, rope_parameters=rope, **text)
    options.pop("vision_start_token_id"), options.pop("vision_end_token_id")
    made = config(**options, **GLM_TOKENS, vision_config=WIDE_TOWER | {"image_size": 64})
    return model(made), samples


@more
def glm4v_moe(batch: int) -> tuple[Any, list[Sample]]:
    return _glm(batch, tf.Glm4vMoeConfig, tf.Glm4vMoeForConditionalGeneration, **GLM_EXPERTS)


@more
def glm46v(batch: int) -> tuple[Any, list[Sample]]:
    return _glm(batch, tf.Glm46VConfig, tf.Glm46VForConditionalGeneration)


@more
def glm_ocr(batch: int) -> tuple[Any, list[Sample]]:
    return _glm(batch, tf.GlmOcrConfig, tf.GlmOcrForConditionalGeneration)


@more
def paddleocr_vl(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = qwen_inputs(batch, head_dim=16)
    for _, visual in samples:
        visual["pixel_values"] = pixels(visual["pixel_values"].shape[0], 3, 8, 8)
    vision = TOWER | {"image_size": 64, "patch_size": 8}
    return tf.PaddleOCRVLForConditionalGeneration(tf.PaddleOCRVLConfig(**options, vision_config=vision)), samples


@more
def video_llama_3(batch: int) -> tuple[Any, list[Sample]]:
    samples, _ = qwen_inputs(batch)
    for _, visual in samples:
        visual["pixel_values"] = visual["pixel_values"][:, : 3 * 64]
        visual["image_merge_sizes"] = torch.tensor([2])
        del visual["mm_token_type_ids"]
    config = tf.VideoLlama3Config(
        text_config=llama(tf.Qwen2Config),
        vision_config=TOWER | {"patch_size": 8},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return tf.VideoLlama3ForConditionalGeneration(config), samples


@more
def exaone4_5(batch: int) -> tuple[Any, list[Sample]]:
    samples, _ = qwen_inputs(batch)
    for _, visual in samples:
        del visual["mm_token_type_ids"]
    types = ["sliding_attention", "sliding_attention", "full_attention"]
    text = llama(tf.Exaone4Config, sliding_window=12, layer_types=types)
    vision = QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "window_size": 32, "out_hidden_size": 48}
    vision |= {"fullatt_block_indexes": [1], "num_key_value_heads": 1}
    config = tf.Exaone4_5_Config(text_config=text, vision_config=vision, image_token_id=IMAGE, video_token_id=VIDEO)
    return tf.Exaone4_5_ForConditionalGeneration(config), samples


def _untyped(samples: list[Sample]) -> list[Sample]:
    for _, visual in samples:
        del visual["mm_token_type_ids"]
    return samples


AUDIO = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 32, "output_dim": 64}


@more
def qwen2_5_omni_thinker(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = qwen_inputs(batch)
    vision = QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "window_size": 32, "out_hidden_size": 64}
    config = tf.Qwen2_5OmniThinkerConfig(
        text_config=options["text_config"],
        vision_config=vision | {"fullatt_block_indexes": [1]},
        audio_config=AUDIO,
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        audio_token_index=206,
        vision_start_token_id=BEGIN,
        vision_end_token_id=END,
        audio_start_token_id=204,
        audio_end_token_id=205,
    )
    return tf.Qwen2_5OmniThinkerForConditionalGeneration(config), _untyped(samples)


@more
def qwen3_omni_moe_thinker(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = qwen_inputs(batch, head_dim=16, rope_parameters=INTERLEAVED, **EXPERTS)
    vision = WIDE_TOWER | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    config = tf.Qwen3OmniMoeThinkerConfig(
        text_config=options["text_config"],
        vision_config=vision,
        audio_config=AUDIO | {"downsample_hidden_size": 8},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=206,
        vision_start_token_id=BEGIN,
        audio_start_token_id=204,
    )
    return tf.Qwen3OmniMoeThinkerForConditionalGeneration(config), _untyped(samples)


@more
def cohere_compass(batch: int) -> tuple[Any, list[Sample]]:
    types = ["sliding_attention", "sliding_attention", "full_attention"]
    rope = dict.fromkeys(types, MROPE)
    samples, options = qwen_inputs(batch, sliding_window=12, layer_types=types, rope_parameters=rope)
    vision = WIDE_TOWER | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    config = tf.CohereCompassConfig(**options, vision_config=vision)
    return tf.CohereCompassForConditionalGeneration(config), samples


@more
def kimi_k25(batch: int) -> tuple[Any, list[Sample]]:
    samples, _ = qwen_inputs(batch)
    for _, visual in samples:
        visual["pixel_values"] = pixels(visual["pixel_values"].shape[0], 3, 8, 8)
        del visual["mm_token_type_ids"]
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "max_position_embeddings": 512}
    latent = {"kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12, "q_lora_rank": 24}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "n_group": 1, "topk_group": 1, "n_shared_experts": 1}
    text = tf.DeepseekV3Config(**SPECIAL, **sizes, **latent, **heads, **GLM_EXPERTS)
    vision = TOWER | {"patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8}
    config = tf.Kimi_K25Config(
        text_config=text,
        vision_config=vision,
        projection_hidden_size=32,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=BEGIN,
        vision_end_token_id=END,
    )
    return tf.Kimi_K25ForConditionalGeneration(config), samples


GOT_TOWER = TOWER | {"output_channels": 16, "image_size": 128, "patch_size": 8, "window_size": 4, "mlp_dim": 64}


@more
def got_ocr2(batch: int) -> tuple[Any, list[Sample]]:
    # 16 x 16 patches, halved twice to 4 x 4
    vision = GOT_TOWER | {"global_attn_indexes": [1]}
    vision.pop("intermediate_size")
    config = tf.GotOcr2Config(
        text_config=llama(tf.Qwen2Config), vision_config=vision, image_token_index=IMAGE, image_seq_length=16
    )
    return tf.GotOcr2ForConditionalGeneration(config), square(batch, side=128)


@more
def llava_next_video(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.LlavaNextVideoConfig(
        vision_config=tower(tf.CLIPVisionConfig, projection_dim=16),
        text_config=llama(),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
        image_seq_length=16,
    )
    visual = {"image_sizes": torch.tensor([[32, 64]])}
    samples = [(prompt([[IMAGE] * 52], n), {"pixel_values": pixels(1, 3, 3, 32, 32)} | visual) for n in range(batch)]
    return tf.LlavaNextVideoForConditionalGeneration(config), samples


@more
def video_llava(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.VideoLlavaConfig(
        vision_config=tower(tf.CLIPVisionConfig, projection_dim=16),
        text_config=llama(),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_seq_length=16,
    )
    blocks = [[IMAGE] * 16]
    samples = [(prompt(blocks, n), {"pixel_values_images": pixels(1, 3, 32, 32)}) for n in range(batch)]
    return tf.VideoLlavaForConditionalGeneration(config), samples


@more
def deepseek_vl(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.DeepseekVLConfig(
        vision_config=tower(tf.SiglipVisionConfig, vision_use_head=False), text_config=llama(), image_token_id=IMAGE
    )
    return tf.DeepseekVLForConditionalGeneration(config), square(batch)


@more
def janus(batch: int) -> tuple[Any, list[Sample]]:
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    codes = {"embed_dim": 8, "num_embeddings": 16, "latent_channels": 16, "base_channels": 32, "num_patches": 4}
    codes |= {"channel_multiplier": [1, 1], "num_res_blocks": 1, "projection_dim": 48, "image_token_embed_dim": 48}
    config = tf.JanusConfig(
        vision_config=vision | {"projection_dim": 48, "num_image_tokens": 16, "mlp_ratio": 2.0},
        text_config=llama(),
        vq_config=codes,
        image_token_id=IMAGE,
    )
    return tf.JanusForConditionalGeneration(config), square(batch)


@more
def lighton_ocr(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.LightOnOcrConfig(
        text_config=llama(tf.Qwen3Config, head_dim=8),
        vision_config=tiny_families.PIXTRAL_TOWER | {"patch_size": 4},
        image_token_id=IMAGE,
        spatial_merge_size=2,
    )
    size = torch.tensor([[32, 48]])
    samples = [
        (prompt([[IMAGE] * 24], n), {"pixel_values": pixels(1, 3, 32, 48), "image_sizes": size}) for n in range(batch)
    ]
    return tf.LightOnOcrForConditionalGeneration(config), samples


@more
def qianfan_ocr(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.QianfanOCRConfig(
        vision_config=TOWER | {"image_size": [64, 64], "patch_size": [8, 8]},
        text_config=llama(tf.Qwen3Config, head_dim=8),
        image_token_id=IMAGE,
        image_seq_length=16,
        downsample_ratio=0.5,
    )
    block = [BEGIN, *[IMAGE] * 32, END]
    samples = [(prompt([block], n), {"pixel_values": pixels(2, 3, 64, 64)}) for n in range(batch)]
    return tf.QianfanOCRForConditionalGeneration(config), samples


@more
def fuyu(batch: int) -> tuple[Any, list[Sample]]:
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    text = tf.PersimmonConfig(**SPECIAL, **sizes, max_position_embeddings=512)
    config = tf.FuyuConfig(text_config=text, image_size=32, patch_size=8, image_token_id=IMAGE)
    samples = [(prompt([[IMAGE] * 16], n), {"image_patches": pixels(1, 16, 192)}) for n in range(batch)]
    return tf.FuyuForCausalLM(config), samples
