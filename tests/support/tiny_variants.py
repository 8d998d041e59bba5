"""Tiny models whose attention differs: keys chosen by an indexer, learned sinks, capped scores, position biases.

Windows, numbers of chosen keys and numbers of experts are below the prompts' lengths, so that each is at work.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf

from tests.support import tiny_families
from tests.support.tiny_families import (
    BEGIN,
    END,
    ONE,
    PIXTRAL_TOWER,
    SPECIAL,
    TOWER,
    FamilyCase,
    Sample,
    llama,
    pixels,
    prompt,
    tower,
)
from tests.support.tiny_models import IMAGE
from tests.support.tiny_others import square

VARIANTS: dict[str, Callable[..., FamilyCase]] = {}

EXPERTS = {
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
}
LATENT = {"kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12}
INDEXER = {"index_topk": 6, "index_head_dim": 16, "index_n_heads": 16}
variant = tiny_families.registering(VARIANTS)


def _llava(batch: int, text: Any) -> tuple[Any, list[Sample]]:
    vision = tower(tf.CLIPVisionConfig, projection_dim=16)
    config = tf.LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, image_seq_length=16)
    return tf.LlavaForConditionalGeneration(config), square(batch)


def _sparse_text(kind: Any) -> Any:
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 24, "first_k_dense_replace": 1}
    return kind(**SPECIAL, **sizes, **heads, **LATENT, **INDEXER, **EXPERTS)


@variant
def deepseek_v32(batch: int) -> tuple[Any, list[Sample]]:
    return _llava(batch, _sparse_text(tf.DeepseekV32Config))


@variant
def glm_moe_dsa(batch: int) -> tuple[Any, list[Sample]]:
    return _llava(batch, _sparse_text(tf.GlmMoeDsaConfig))


@variant
def mistral_large4(batch: int) -> tuple[Any, list[Sample]]:
    # The last two layers read the keys of the second
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 4, "max_position_embeddings": 512} | LATENT | INDEXER | EXPERTS
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    config = tf.MistralLarge4Config(
        text_config=text,
        vision_config=PIXTRAL_TOWER | {"patch_size": 4},
        image_token_index=IMAGE,
        spatial_merge_size=2,
    )
    return tf.MistralLarge4ForConditionalGeneration(config), tiny_families._broken_rows(batch)


@variant
def minimax_m3_vl(batch: int) -> tuple[Any, list[Sample]]:
    samples = _grids(batch)
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 512, "num_local_experts": 4}
    text |= {"num_experts_per_tok": 2, "dense_intermediate_size": 64, "shared_intermediate_size": 32, "rotary_dim": 8}
    text |= {"index_n_heads": 2, "index_head_dim": 12, "index_block_size": 4, "index_topk_blocks": 2}
    text |= {"layer_types": ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"]}
    vision = TOWER | {"patch_size": 8, "image_size": 64}
    config = tf.MiniMaxM3VLConfig(
        text_config=text,
        vision_config=vision | {"hidden_size": 64},
        image_token_index=IMAGE,
        video_token_index=201,
        projector_hidden_size=48,
    )
    return tf.MiniMaxM3SparseForConditionalGeneration(config), samples


def _grids(batch: int) -> list[Sample]:
    """Patches of 8 x 8 pixels, twice in time, merged 2 x 2."""
    made = []
    for number in range(batch):
        time, high, wide = ONE[number][0]
        ids = prompt([[BEGIN, *[IMAGE] * (time * high * wide // 4), END]], number)
        grid = torch.tensor([[time, high, wide]])
        made.append((ids, {"pixel_values": pixels(time * high * wide, 3 * 2 * 64), "image_grid_thw": grid}))
    return made


@variant
def dots3_note(batch: int) -> tuple[Any, list[Sample]]:
    samples = _grids(batch)
    for _, visual in samples:
        visual["pixel_values"] = visual["pixel_values"][:, : 3 * 64]
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 4, "max_position_embeddings": 512, "q_lora_rank": 24, "head_dim": 16}
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
    return tf.Dots3NoteForConditionalGeneration(config), samples


@variant
def inkling2(batch: int) -> tuple[Any, list[Sample]]:
    # A sink for each query and head, a bias by distance, convolutions on keys and values, experts
    text = SPECIAL | {"unpadded_vocab_size": 220, "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "head_dim": 12, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2}
    text |= {"swa_head_dim": 12, "sliding_window_size": 8, "d_rel": 4, "rel_extent": 16, "max_position_embeddings": 512}
    text |= {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2}
    text |= {"layer_types": ["hybrid_sliding", "hybrid_sliding", "hybrid", "hybrid_sliding"]}
    vision = TOWER | {"patch_size": 8, "posemb_grid_size": 8, "projection_hidden_dim": 32, "text_hidden_size": 48}
    config = tf.Inkling2Config(text_config=text, vision_config=vision, image_token_id=IMAGE)
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(16, 16, 16, 3), "image_grid_thw": torch.tensor([[1, 4, 4]])}
        samples.append((prompt([[BEGIN, *[IMAGE] * 16, END]], number), visual))
    return tf.Inkling2ForConditionalGeneration(config), samples


@variant
def gpt_oss(batch: int) -> tuple[Any, list[Sample]]:
    # A sink for each head, and windows
    options = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2, "head_dim": 8}
    options["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    text = llama(tf.GptOssConfig, 4, num_local_experts=4, num_experts_per_tok=2, **options)
    model, samples = _llava(batch, text)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("sinks"):
                weight.normal_(1.0, 1.0)
            elif "experts" in name:
                weight.normal_(0.0, 0.1)
    return model, samples


@variant
def gemma2(batch: int) -> tuple[Any, list[Sample]]:
    # Scores capped at 2, where they matter, and windows
    options = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2, "head_dim": 8}
    text = llama(tf.Gemma2Config, 4, attn_logit_softcapping=2.0, query_pre_attn_scalar=8, **options)
    return _llava(batch, text)


@variant
def gemma3_deep(batch: int) -> tuple[Any, list[Sample]]:
    # Windows that have lost the image's first keys beside layers that see them all
    return tiny_families.windowed_gemma3(batch, "fsfsfs")


@variant
def ernie4_5_vl_moe(batch: int) -> tuple[Any, list[Sample]]:
    # Experts of their own for the image's tokens
    samples = _grids(batch)
    for ids, visual in samples:
        visual["pixel_values"] = visual["pixel_values"][:, : 3 * 64]
        visual["mm_token_type_ids"] = visual["moe_mm_token_type_ids"] = tiny_families.typed(ids, IMAGE)
    text = SPECIAL | {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "moe_intermediate_size": [32, 16]}
    text |= {
        "moe_k": 2,
        "moe_num_experts": 4,
        "tie_word_embeddings": False,
        "mlp_layer_types": ["dense"] + ["sparse"] * 2,
    }
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [3, 3, 2]}}
    vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "patch_size": 8, "intermediate_size": 64}
    config = tf.Ernie4_5_VLMoeConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        image_start_token_id=BEGIN,
        image_end_token_id=END,
        video_token_id=201,
        video_start_token_id=204,
        video_end_token_id=205,
        tie_word_embeddings=False,
    )
    return tf.Ernie4_5_VLMoeForConditionalGeneration(config), samples


@variant
def diffllama(batch: int) -> tuple[Any, list[Sample]]:
    # Two attentions in each layer, one taken from the other: refused
    return _llava(batch, llama(tf.DiffLlamaConfig))
