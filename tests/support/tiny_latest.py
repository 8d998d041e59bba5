"""Tiny models of documents, codes and pooled patches, for the file of verified models."""

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
    typed,
)
from tests.support.tiny_models import IMAGE
from tests.support.tiny_more import GOT_TOWER, INTERLEAVED, WIDE_TOWER, qwen_inputs
from tests.support.tiny_others import square
from tests.support.tiny_rest import SMALL

LATEST: dict[str, Callable[..., FamilyCase]] = {}
latest = tiny_families.registering(LATEST)


@latest
def cosmos3_omni(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = qwen_inputs(batch, head_dim=16, rope_parameters=INTERLEAVED)
    vision = WIDE_TOWER | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    config = tf.Cosmos3OmniConfig(**options, vision_config=vision | {"model_type": "qwen3_vl_vision"})
    return tf.Cosmos3OmniForConditionalGeneration(config), samples


@latest
def cosmos3_edge(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = qwen_inputs(batch, head_dim=16)
    for _, visual in samples:
        visual["pixel_values"] = visual["pixel_values"][:, : 3 * 64]
    vision = TOWER | {"patch_size": 8, "num_patches": 64}
    config = tf.Cosmos3EdgeConfig(**options, vision_config=vision, projector_hidden_size=32)
    return tf.Cosmos3EdgeForConditionalGeneration(config), samples


@latest
def molmo2(batch: int) -> tuple[Any, list[Sample]]:
    # One crop of 8 x 8 patches, pooled 2 x 2; the image's tokens see each other
    config = tf.Molmo2Config(
        text_config=SPECIAL | SMALL | {"head_dim": 12, "additional_vocab_size": 16},
        vision_config=TOWER | {"num_key_value_heads": 2, "head_dim": 16, "image_size": [64, 64], "patch_size": 8},
        adapter_config={
            "vision_feature_layer": [0, 1],
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 64,
            "text_hidden_size": 48,
        },
        image_patch_id=IMAGE,
        image_start_token_id=BEGIN,
        image_end_token_id=END,
        low_res_image_start_token_id=204,
        frame_start_token_id=205,
        frame_end_token_id=206,
    )
    patches = torch.arange(64).reshape(4, 2, 4, 2).transpose(1, 2).reshape(16, 4)
    samples = []
    for number in range(batch):
        ids = prompt([[BEGIN, *[IMAGE] * 16, END]], number)
        visual = {"pixel_values": pixels(1, 64, 192), "image_token_pooling": patches}
        visual["image_grids"] = torch.tensor([[4, 4, 0, 0]])
        samples.append((ids, visual | {"mm_token_type_ids": typed(ids, IMAGE)}))
    return tf.Molmo2ForConditionalGeneration(config), samples


@latest
def emu3(batch: int) -> tuple[Any, list[Sample]]:
    # 32 x 48 pixels to 4 x 6 codes, and the end of a line after each row
    codes = {"codebook_size": 16, "base_channels": 32, "channel_multiplier": [1, 1, 1, 1], "num_res_blocks": 1}
    names = {"<image>": IMAGE, "<|extra_200|>": 204}
    names |= {f"<|visual token {number:06d}|>": 100 + number for number in range(16)}
    config = tf.Emu3Config(
        text_config=SPECIAL | SMALL, vq_config=codes | {"hidden_size": 32, "attn_resolutions": []}, vocabulary_map=names
    )
    visual = [{"pixel_values": pixels(1, 3, 32, 48), "image_sizes": torch.tensor([[32, 48]])} for _ in range(batch)]
    return tf.Emu3ForConditionalGeneration(config), [(prompt([[IMAGE] * 28], n), visual[n]) for n in range(batch)]


@latest
def granite4_vision(batch: int) -> tuple[Any, list[Sample]]:
    # Image features are added at every layer; 32 x 64 pixels: 16 of the whole, then 4 x 8 with newlines
    qformer = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    qformer |= {"cross_attention_frequency": 1, "use_qformer_text_input": False, "encoder_hidden_size": 64}
    config = tf.Granite4VisionConfig(
        vision_config=tower(tf.CLIPVisionConfig, patch_size=4, projection_dim=16).to_dict() | {"hidden_size": 64},
        text_config=SPECIAL | SMALL | {"num_hidden_layers": 6, "attention_multiplier": 0.3},
        qformer_config=qformer | {"model_type": "blip_2_qformer"},
        image_token_index=IMAGE,
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
        image_seq_length=16,
        downsample_rate="1/2",
        deepstack_layer_map=[[1, 0], [2, 1]],
        spatial_target_layers=[2, 3, 4, 5],
    )
    size = torch.tensor([[32, 64]])
    visual = [{"pixel_values": pixels(1, 3, 3, 32, 32), "image_sizes": size} for _ in range(batch)]
    samples = [(prompt([[IMAGE] * 52], n), visual[n]) for n in range(batch)]
    return tf.Granite4VisionForConditionalGeneration(config), samples


SAM = {name: value for name, value in GOT_TOWER.items() if name != "intermediate_size"}
SAM |= {"global_attn_indexes": [1], "downsample_channels": [32, 32]}
ROUTED = {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
ROUTED |= {"num_key_value_heads": 4, "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]}


@latest
def unlimited_ocr(batch: int) -> tuple[Any, list[Sample]]:
    # The prompt is always seen, of the answer only the last tokens, kept in a ring: refused
    config = tf.UnlimitedOcrConfig(
        text_config=SPECIAL | SMALL | ROUTED | {"sliding_window": 2},
        vision_config={"sam_config": SAM, "encoder_config": TOWER | {"image_size": 32, "patch_size": 8}},
        image_token_id=IMAGE,
    )
    return tf.UnlimitedOcrForConditionalGeneration(config), square(batch, tokens=21, side=128)


@latest
def deepseek_ocr2(batch: int) -> tuple[Any, list[Sample]]:
    # 144 queries and a separator, whatever the image's size
    encoder = SMALL | {"vocab_size": 8, "hidden_size": 32, "num_hidden_layers": 2}
    config = tf.DeepseekOcr2Config(
        text_config=SPECIAL | SMALL | ROUTED,
        vision_config={"sam_config": SAM, "encoder_config": encoder},
        image_token_id=IMAGE,
    )
    return tf.DeepseekOcr2ForConditionalGeneration(config), square(batch, tokens=145, side=128)


def _minicpm(batch: int, config: Any, model: Any, *, side: int, **options: Any) -> tuple[Any, list[Sample]]:
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "head_dim": 16}
    text = SPECIAL | SMALL | linear | {"linear_num_value_heads": 4, "rope_parameters": INTERLEAVED, "hidden_size": 64}
    text |= {"layer_types": ["linear_attention", "full_attention"] * 2, "model_type": "qwen3_5_text"}
    made = config(
        text_config=text,
        vision_config=TOWER | {"image_size": side * 8, "patch_size": 8},
        insert_layer_id=0,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        **options,
    )
    samples = []
    for number in range(batch):
        ids = prompt([[BEGIN, *[IMAGE] * 16, END]], number)
        visual = {"pixel_values": pixels(1, 3, 8, side * side * 8), "target_sizes": torch.tensor([[side, side]])}
        samples.append((ids, visual))
    return model(made), samples


@latest
def minicpmv4_6(batch: int) -> tuple[Any, list[Sample]]:
    return _minicpm(batch, tf.MiniCPMV4_6Config, tf.MiniCPMV4_6ForConditionalGeneration, side=16)


@latest
def minicpmv4_7(batch: int) -> tuple[Any, list[Sample]]:
    marks = {"image_start_id": BEGIN, "image_end_id": END, "slice_start_id": 204, "slice_end_id": 205}
    model = tf.MiniCPMV4_7ForConditionalGeneration
    made, samples = _minicpm(batch, tf.MiniCPMV4_7Config, model, side=16, newline_id=206, **marks)
    for ids, visual in samples:
        visual["mm_token_type_ids"] = typed(ids, IMAGE)
    return made, samples


@latest
def minicpm_ocr(batch: int) -> tuple[Any, list[Sample]]:
    # Patches are merged once only
    return _minicpm(batch, tf.MiniCPMOcrConfig, tf.MiniCPMOcrForConditionalGeneration, side=8)


@latest
def perception_lm(batch: int) -> tuple[Any, list[Sample]]:
    # A tower of CLIP in the place of timm's
    config = tf.PerceptionLMConfig(
        text_config=llama(),
        vision_config=tower(tf.CLIPVisionConfig, patch_size=4, projection_dim=16, model_args={"embed_dim": 32}),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        projector_pooling_ratio=2,
    )
    block = [BEGIN, *[IMAGE] * 16, END]
    samples = [(prompt([block], n), {"pixel_values": pixels(1, 1, 3, 32, 32)}) for n in range(batch)]
    return tf.PerceptionLMForConditionalGeneration(config), samples


@latest
def fast_vlm(batch: int) -> tuple[Any, list[Sample]]:
    # A convolutional tower of transformers in the place of timm's: 64 x 64 pixels to 4 x 4
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    vision = tf.ResNetConfig(**sizes, hidden_size=32, downsample_in_first_stage=True)
    config = tf.FastVlmConfig(
        text_config=llama(tf.Qwen2Config), vision_config=vision, image_token_index=IMAGE, image_seq_length=16
    )
    return tf.FastVlmForConditionalGeneration(config), square(batch, side=64)


@latest
def nemotron_h_omni(batch: int) -> tuple[Any, list[Sample]]:
    # Mamba, experts and attention in layers of their own
    text = SPECIAL | {"hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12}
    text |= {"intermediate_size": 64, "ssm_state_size": 8, "mamba_num_heads": 4, "mamba_head_dim": 24, "n_groups": 2}
    text |= {"moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 32, "n_routed_experts": 4}
    text |= {"chunk_size": 16, "max_position_embeddings": 512}
    text |= {"layers_block_type": ["full_attention", "linear_attention", "moe", "full_attention", "mlp"]}
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2.0, "patch_size": 8}
    vision |= {"image_size": 64, "max_img_size": 64, "num_cls_tokens": 2, "num_registers": 2}
    config = tf.NemotronH_Omni_Reasoning_V3_Config(
        text_config=text | {"model_type": "nemotron_h"},
        vision_config=vision | {"video_temporal_patch_size": 2, "model_type": "radio"},
        audio_config=None,
        projector_hidden_size=64,
        vision_hidden_size=32,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(64, 192), "image_grid_hw": torch.tensor([[8, 8]])}
        samples.append((prompt([[BEGIN, *[IMAGE] * 16, END]], number), visual))
    return tf.NemotronH_Omni_Reasoning_V3(config), samples


@latest
def deepseek_v4(batch: int) -> tuple[Any, list[Sample]]:
    # A window of tokens, and compressed blocks of those before it: refused
    text = tf.DeepseekV4Config(
        **SPECIAL,
        hidden_size=48,
        moe_intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        head_dim=16,
        q_lora_rank=24,
        n_routed_experts=4,
        num_experts_per_tok=2,
        num_hash_layers=0,
        sliding_window=8,
        max_position_embeddings=512,
    )
    vision = tower(tf.CLIPVisionConfig, projection_dim=16)
    config = tf.LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, image_seq_length=16)
    return tf.LlavaForConditionalGeneration(config), square(batch)
