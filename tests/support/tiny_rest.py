"""The rest of the tiny models for the file of verified models: documents, hybrids and recent families."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf

from tests.support import tiny_families
from tests.support.tiny_families import (
    BEGIN,
    END,
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
from tests.support.tiny_more import EXPERTS, GLM_EXPERTS, GLM_TOKENS, GOT_TOWER, INTERLEAVED, WIDE_TOWER, qwen_inputs
from tests.support.tiny_others import square

REST: dict[str, Callable[..., FamilyCase]] = {}
SMALL = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "max_position_embeddings": 512}
MIXED = ["sliding_attention", "full_attention"] * 2
rest = tiny_families.registering(REST)


def _grids(batch: int, *, width: int) -> list[Sample]:
    samples, _ = qwen_inputs(batch)
    for _, visual in samples:
        visual["pixel_values"] = visual["pixel_values"][:, :width]
        del visual["mm_token_type_ids"]
    return samples


@rest
def glmga(batch: int) -> tuple[Any, list[Sample]]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0}
    samples, options = qwen_inputs(batch, rope_parameters=rope)
    options.pop("vision_start_token_id"), options.pop("vision_end_token_id")
    made = tf.GlmgaConfig(**options, **GLM_TOKENS, vision_config=WIDE_TOWER | {"image_size": 64})
    return tf.Glm46VForConditionalGeneration(made), samples


@rest
def pp_chart2table(batch: int) -> tuple[Any, list[Sample]]:
    vision = GOT_TOWER | {"global_attn_indexes": [1]}
    vision.pop("intermediate_size")
    config = tf.PPChart2TableConfig(
        text_config=llama(tf.Qwen2Config), vision_config=vision, image_token_index=IMAGE, image_seq_length=16
    )
    return tf.GotOcr2ForConditionalGeneration(config), square(batch, side=128)


@rest
def muse_glimmer(batch: int) -> tuple[Any, list[Sample]]:
    text = SPECIAL | SMALL | {"head_dim": 12, "sliding_window": 12, "layer_types": MIXED}
    config = tf.MuseGlimmerConfig(
        text_config=text,
        vision_config=TOWER | {"patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        out_hidden_size=128,
        projector_hidden_size=32,
    )
    return tf.MuseGlimmerForConditionalGeneration(config), _grids(batch, width=6 * 64)


@rest
def muse_spark(batch: int) -> tuple[Any, list[Sample]]:
    text = SPECIAL | SMALL | {"head_dim": 12, "sliding_window": 12, "layer_types": MIXED, "moe_intermediate_size": 32}
    text |= {"num_local_experts": 4, "num_experts_per_tok": 2, "moe_hidden_size": 48}
    audio = {"patch_sizes": [4], "hidden_sizes": [16], "depths": [1], "num_hidden_layers": 1, "out_hidden_size": 48}
    config = tf.MuseSparkConfig(
        text_config=text,
        vision_config=TOWER | {"patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8},
        audio_config=audio,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=206,
        out_hidden_size=128,
        projector_hidden_size=32,
    )
    return tf.MuseSparkForConditionalGeneration(config), _grids(batch, width=6 * 64)


@rest
def lfm3_vl(batch: int) -> tuple[Any, list[Sample]]:
    text = tf.Lfm2Config(**SPECIAL, **SMALL, layer_types=["conv", "full_attention"] * 2)
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = tf.Lfm3VlConfig(
        text_config=text,
        vision_config=vision | {"patch_size": 8, "num_key_value_heads": 1},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        projector_hidden_size=32,
    )
    return tf.Lfm3VlForConditionalGeneration(config), _grids(batch, width=6 * 64)


@rest
def hyperclovax_vision_v2(batch: int) -> tuple[Any, list[Sample]]:
    vision = tiny_families.QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "window_size": 32}
    config = tf.HyperCLOVAXVisionV2Config(
        text_config=llama(tf.HyperCLOVAXConfig),
        vision_config=vision | {"out_hidden_size": 48, "fullatt_block_indexes": [1], "model_type": "qwen2_5_vl_vision"},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return tf.HyperCLOVAXVisionV2ForConditionalGeneration(config), _grids(batch, width=6 * 64)


@rest
def hunyuan_vl(batch: int) -> tuple[Any, list[Sample]]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 1, 1]}
    text = SPECIAL | SMALL | {"head_dim": 12, "rope_parameters": rope, "eod_token_id": 2, "sep_token_id": 4}
    vision = TOWER | {"patch_size": 8, "out_hidden_size": 48, "text_hidden_size": 48, "max_image_size": 64}
    config = tf.HunYuanVLConfig(
        text_config=text,
        vision_config=vision | {"min_image_size": 8, "img_max_token_num": 64},
        image_token_id=IMAGE,
        im_start_id=BEGIN,
        im_end_id=END,
        im_newline_id=204,
    )
    samples = []
    for number in range(batch):
        high, wide = (8, 12) if number == 0 else (8, 8)
        tokens = high // 2 * (wide // 2 + 1) + 2
        visual = {"pixel_values": pixels(high * wide, 192), "image_grid_thw": torch.tensor([[1, high, wide]])}
        samples.append((prompt([[IMAGE] * tokens], number), visual))
    return tf.HunYuanVLForConditionalGeneration(config), samples


@rest
def step3p7(batch: int) -> tuple[Any, list[Sample]]:
    text = SPECIAL | SMALL | {"head_dim": 12, "num_experts_per_tok": 2, "num_local_experts": 4, "n_routed_experts": 4}
    text |= {"moe_intermediate_size": 32, "share_expert_dim": 32, "sliding_window": 12, "layer_types": MIXED}
    config = tf.Step3p7Config(
        text_config=text, vision_config=TOWER | {"image_size": 64, "patch_size": 4}, image_token_id=IMAGE
    )
    return tf.Step3p7ForConditionalGeneration(config), square(batch, side=64)


@rest
def glm5_next(batch: int) -> tuple[Any, list[Sample]]:
    samples, _ = qwen_inputs(batch)
    text = SPECIAL | SMALL | {"num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 16}
    text |= {"v_head_dim": 16, "n_group": 1, "topk_group": 1, "index_topk": 8, "index_head_dim": 16}
    text |= {
        "index_kpool": 1,
        "index_n_heads": 16,
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "hc_mult": 2,
        "n_shared_experts": 1,
    }
    text |= {name: value for name, value in GLM_EXPERTS.items() if name != "first_k_dense_replace"}
    config = tf.Glm5NextConfig(
        text_config=text,
        vision_config=WIDE_TOWER | {"image_size": 64, "out_hidden_size": 48, "projection_intermediate_size": 64},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        **GLM_TOKENS,
    )
    return tf.Glm5NextForConditionalGeneration(config), samples


@rest
def ovis2(batch: int) -> tuple[Any, list[Sample]]:
    vision = TOWER | {"image_size": 32, "patch_size": 8, "vocab_size": 32, "num_visual_indicator_tokens": 5}
    config = tf.Ovis2Config(
        text_config=llama(tf.Qwen2Config),
        vision_config=vision,
        image_token_id=IMAGE,
        visual_indicator_token_ids=[205, 206, 207, 208, 209],
        vocab_size=220,
        hidden_size=48,
    )
    return tf.Ovis2ForConditionalGeneration(config), square(batch)


@rest
def granite_docling(batch: int) -> tuple[Any, list[Sample]]:
    vision = TOWER | {"image_size": 32, "patch_size": 4, "scale_factor": 2, "out_hidden_size": 48}
    config = tf.GraniteDoclingConfig(
        text_config=SPECIAL | SMALL, vision_config=vision, image_token_id=IMAGE, density_router_hidden_size=16
    )
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(1, 2, 3, 32, 32), "pixel_attention_mask": torch.ones(1, 2, dtype=torch.bool)}
        samples.append((prompt([[BEGIN, *[IMAGE] * 32, END]], number), visual))
    return tf.GraniteDoclingForConditionalGeneration(config), samples


@rest
def gemma4_unified(batch: int) -> tuple[Any, list[Sample]]:
    text = SPECIAL | SMALL | {"head_dim": 12, "sliding_window": 12, "layer_types": MIXED, "global_head_dim": 12}
    vision = {"patch_size": 4, "pooling_kernel_size": 3, "mm_embed_dim": 48, "mm_posemb_size": 64}
    config = tf.Gemma4UnifiedConfig(
        text_config=text,
        vision_config=vision | {"output_proj_dims": 48},
        audio_config=None,
        image_token_id=IMAGE,
        boi_token_id=BEGIN,
        eoi_token_id=END,
        video_token_id=VIDEO,
    )
    places = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="xy"), -1).reshape(1, 16, 2)
    samples = []
    for number in range(batch):
        ids = prompt([[BEGIN, *[IMAGE] * 16, END]], number)
        visual = {"pixel_values": pixels(1, 16, 432), "image_position_ids": places}
        samples.append((ids, visual | {"mm_token_type_ids": tiny_families.typed(ids, IMAGE)}))
    return tf.Gemma4UnifiedForConditionalGeneration(config), samples


@rest
def deepseek_vl_hybrid(batch: int) -> tuple[Any, list[Sample]]:
    high = {"hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    high |= {"image_size": 128, "patch_size": 8, "window_size": 4, "mlp_dim": 64, "global_attn_indexes": [1]}
    config = tf.DeepseekVLHybridConfig(
        vision_config=tower(tf.SiglipVisionConfig, vision_use_head=False),
        text_config=llama(),
        high_res_vision_config=high,
        image_token_id=IMAGE,
    )
    samples = square(batch)
    for _, visual in samples:
        visual["high_res_pixel_values"] = pixels(1, 3, 128, 128)
    return tf.DeepseekVLHybridForConditionalGeneration(config), samples


@rest
def mistral4(batch: int) -> tuple[Any, list[Sample]]:
    # The mapping names the language model alone, which takes no images: refused
    latent = {"kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12, "q_lora_rank": 24}
    config = tf.Mistral4Config(**(SPECIAL | SMALL | latent | GLM_EXPERTS | {"n_shared_experts": 1}))
    return tf.Mistral4ForCausalLM(config), [(prompt([[IMAGE] * 4], number), {}) for number in range(batch)]


@rest
def qwen4_exp(batch: int) -> tuple[Any, list[Sample]]:
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "num_hidden_layers": 4}
    linear |= {"linear_num_value_heads": 4, "shared_expert_intermediate_size": 32, "hc_count": 2, "hc_lowrank": 8}
    linear |= {"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 8}
    linear |= {"indexer_compress_ratio": 2}
    rope = INTERLEAVED | {"partial_rotary_factor": 1.0}
    types = ["linear_attention", "full_attention"] * 2
    samples, options = qwen_inputs(batch, head_dim=16, layer_types=types, rope_parameters=rope, **linear, **EXPERTS)
    options["text_config"].pop("intermediate_size")
    config = tf.Qwen4ExpConfig(**options, vision_config=WIDE_TOWER | {"num_position_embeddings": 64})
    return tf.Qwen4ExpForConditionalGeneration(config), samples


@rest
def inkling_mm_model(batch: int) -> tuple[Any, list[Sample]]:
    text = SPECIAL | SMALL | {"head_dim": 12, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2}
    text |= {"swa_head_dim": 12, "sliding_window_size": 8, "d_rel": 4, "rel_extent": 16, "moe_intermediate_size": 32}
    text |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "unpadded_vocab_size": 220}
    text |= {"layer_types": ["hybrid_sliding", "hybrid", "hybrid_sliding", "hybrid"]}
    vision = {"text_hidden_size": 48, "patch_size": 40, "hidden_size": 32, "num_hidden_layers": 2}
    config = tf.InklingConfig(
        text_config=text,
        vision_config=vision | {"num_attention_heads": 2},
        audio_config={"n_mel_bins": 8, "mel_vocab_size": 16, "text_hidden_size": 48},
        image_token_id=IMAGE,
        audio_token_id=206,
        image_bos_token_id=BEGIN,
        audio_bos_token_id=207,
    )
    visual = [{"pixel_values": pixels(16, 2, 40, 40, 3)} for _ in range(batch)]
    samples = [(prompt([[BEGIN, *[IMAGE] * 16, END]], n), visual[n]) for n in range(batch)]
    return tf.InklingForConditionalGeneration(config), samples


@rest
def chameleon(batch: int) -> tuple[Any, list[Sample]]:
    codes = {"embed_dim": 8, "num_embeddings": 16, "latent_channels": 8, "resolution": 32, "base_channels": 32}
    codes |= {"channel_multiplier": [1, 1, 1, 1], "num_res_blocks": 1}
    names = {"<image>": IMAGE} | {f"IMGIMG{'ABCDEFGHIJ'[n // 10]}{'ABCDEFGHIJ'[n % 10]}Z": 100 + n for n in range(16)}
    config = tf.ChameleonConfig(**(SPECIAL | SMALL), vq_config=codes, vocabulary_map=names)
    return tf.ChameleonForConditionalGeneration(config), square(batch)


@rest
def instructblipvideo(batch: int) -> tuple[Any, list[Sample]]:
    text = tf.OPTConfig(**SPECIAL, hidden_size=48, ffn_dim=96, num_hidden_layers=3, num_attention_heads=4)
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "encoder_hidden_size": 32}
    config = tf.InstructBlipVideoConfig(
        vision_config=TOWER | {"image_size": 32, "patch_size": 8, "initializer_range": 0.02},
        qformer_config=TOWER | quiet | {"vocab_size": 220},
        text_config=text.to_dict() | {"word_embed_proj_dim": 48},
        num_query_tokens=4,
        video_token_index=IMAGE,
    )
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(1, 4, 3, 32, 32), "qformer_input_ids": torch.randint(5, 190, (1, 6))}
        visual["qformer_attention_mask"] = torch.ones(1, 6, dtype=torch.long)
        samples.append((prompt([[IMAGE] * 16], number, before=0), visual))
    return tf.InstructBlipVideoForConditionalGeneration(config), samples


@rest
def shieldgemma2(batch: int) -> tuple[Any, list[Sample]]:
    case = tiny_families.FAMILIES["gemma3"](batch)
    config = tf.ShieldGemma2Config.from_dict(case.model.config.to_dict() | {"model_type": "shieldgemma2"})
    texts = ("input_ids", "attention_mask")
    visual = [{name: value for name, value in sample.items() if name not in texts} for sample in case.samples]
    ids = [sample["input_ids"][0].tolist() for sample in case.samples]
    return tf.Gemma3ForConditionalGeneration(config), list(zip(ids, visual, strict=True))
