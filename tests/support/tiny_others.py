"""Tiny random-weight models of families that no file of the package names: the generic path serves them."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf

from tests.support import tiny_families
from tests.support.tiny_families import (
    BEGIN,
    END,
    MROPE,
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
    typed,
)
from tests.support.tiny_models import BOS, EOS, IMAGE, PAD

OTHERS: dict[str, Callable[..., FamilyCase]] = {}
other = tiny_families.registering(OTHERS)


def square(batch: int, tokens: int = 16, side: int = 32) -> list[Sample]:
    block = [BEGIN, *[IMAGE] * tokens, END]
    return [(prompt([block], n), {"pixel_values": pixels(1, 3, side, side)}) for n in range(batch)]


@other
def lfm2_vl(batch: int) -> tuple[Any, list[Sample]]:
    # Convolutional layers between those with attention; 8 x 8 patches, merged to 16 tokens
    text = tf.Lfm2Config(
        **SPECIAL,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        full_attn_idxs=[1, 3],
        block_multiple_of=16,
        max_position_embeddings=512,
    )
    vision = tf.Siglip2VisionConfig(**TOWER, patch_size=4, num_patches=64, vision_use_head=False)
    config = tf.Lfm2VlConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, projector_hidden_size=32)
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(1, 64, 48), "spatial_shapes": torch.tensor([[8, 8]])}
        visual["pixel_attention_mask"] = torch.ones(1, 64, dtype=torch.long)
        samples.append((prompt([[BEGIN, *[IMAGE] * 16, END]], number), visual))
    return tf.Lfm2VlForConditionalGeneration(config), samples


@other
def qwen3_5(batch: int) -> tuple[Any, list[Sample]]:
    # Recurrent layers between those with attention
    samples, options = tiny_families._qwen(batch, tiny_families.ONE)
    options["text_config"] |= {"head_dim": 16, "num_hidden_layers": 4, "linear_key_head_dim": 8}
    options["text_config"] |= {"linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
    rope = MROPE | {"mrope_interleaved": True, "partial_rotary_factor": 1.0}
    options["text_config"] |= {"rope_parameters": rope}
    options["text_config"] |= {"layer_types": ["linear_attention", "full_attention"] * 2}
    vision = QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
    config = tf.Qwen3_5Config(**options, vision_config=vision | {"num_position_embeddings": 64})
    return tf.Qwen3_5ForConditionalGeneration(config), samples


@other
def llama4(batch: int) -> tuple[Any, list[Sample]]:
    # Attention in chunks; the decoder proper is one level deeper
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 96, "intermediate_size_mlp": 96, "num_hidden_layers": 4}
    text |= {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 2}
    text |= {"moe_layers": [], "attention_chunk_size": 16, "max_position_embeddings": 512}
    vision = TOWER | {"image_size": 32, "patch_size": 4, "vision_output_dim": 32, "projector_input_dim": 32}
    vision |= {"projector_output_dim": 32, "intermediate_size": 128}
    config = tf.Llama4Config(
        text_config=text, vision_config=vision, image_token_index=IMAGE, boi_token_index=BEGIN, eoi_token_index=END
    )
    return tf.Llama4ForConditionalGeneration(config), square(batch)


@other
def blip_2(batch: int) -> tuple[Any, list[Sample]]:
    text = tf.OPTConfig(
        **SPECIAL,
        hidden_size=48,
        ffn_dim=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=512,
        word_embed_proj_dim=48,
    )
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "encoder_hidden_size": 32}
    config = tf.Blip2Config(
        vision_config=TOWER | {"image_size": 32, "patch_size": 8, "initializer_range": 0.02},
        qformer_config=TOWER | quiet,
        text_config=text.to_dict(),
        num_query_tokens=16,
        image_token_index=IMAGE,
    )
    samples = [(prompt([[IMAGE] * 16], n, before=0), {"pixel_values": pixels(1, 3, 32, 32)}) for n in range(batch)]
    return tf.Blip2ForConditionalGeneration(config), samples


@other
def idefics2(batch: int) -> tuple[Any, list[Sample]]:
    perceiver = {"hidden_size": 48, "resampler_n_latents": 8, "resampler_depth": 1, "resampler_n_heads": 4}
    perceiver |= {"resampler_head_dim": 8, "num_key_value_heads": 2}
    config = tf.Idefics2Config(
        vision_config=TOWER | {"image_size": 32, "patch_size": 8},
        perceiver_config=perceiver,
        text_config=llama(tf.MistralConfig, sliding_window=None),
        image_token_id=IMAGE,
    )
    mask = torch.ones(1, 1, 32, 32, dtype=torch.long)
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(1, 1, 3, 32, 32), "pixel_attention_mask": mask}
        samples.append((prompt([[BEGIN, *[IMAGE] * 8, END]], number), visual))
    return tf.Idefics2ForConditionalGeneration(config), samples


@other
def cohere2_vision(batch: int) -> tuple[Any, list[Sample]]:
    types = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
    config = tf.Cohere2VisionConfig(
        vision_config=tower(tf.SiglipVisionConfig, patch_size=4, vision_use_head=False),
        text_config=llama(tf.Cohere2Config, layers=4, sliding_window=12, layer_types=types),
        image_token_id=IMAGE,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    return tf.Cohere2VisionForConditionalGeneration(config), square(batch)


@other
def glm4v(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = tiny_families._qwen(batch, tiny_families.ONE)
    options.pop("vision_start_token_id"), options.pop("vision_end_token_id")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0}
    options["text_config"] |= {"rope_parameters": rope}
    tokens = {"image_start_token_id": BEGIN, "image_end_token_id": END, "video_start_token_id": 204}
    vision = QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64, "image_size": 64}
    config = tf.Glm4vConfig(**options, **tokens, video_end_token_id=205, vision_config=vision)
    return tf.Glm4vForConditionalGeneration(config), samples


@other
def gemma4(batch: int) -> tuple[Any, list[Sample]]:
    # Windows, keys shared between the last layers, embeddings per layer; 12 x 12 patches pooled by 3 to 16 tokens
    sliding, full = "sliding_attention", "full_attention"
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 512, "sliding_window": 12}
    text |= {"layer_types": [sliding, full, sliding, full], "num_kv_shared_layers": 1}
    text |= {"vocab_size_per_layer_input": SPECIAL["vocab_size"], "hidden_size_per_layer_input": 8}
    text |= {"global_head_dim": 12}
    vision = TOWER | {"num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "pooling_kernel_size": 3}
    config = tf.Gemma4Config(
        text_config=text,
        vision_config=vision | {"position_embedding_size": 64},
        audio_config=None,
        image_token_id=IMAGE,
        boi_token_id=BEGIN,
        eoi_token_id=END,
        video_token_id=VIDEO,
    )
    places = torch.stack(torch.meshgrid(torch.arange(12), torch.arange(12), indexing="xy"), -1).reshape(1, 144, 2)
    samples = []
    for number in range(batch):
        ids = prompt([[BEGIN, *[IMAGE] * 16, END]], number)
        visual = {"pixel_values": pixels(1, 144, 48), "image_position_ids": places}
        samples.append((ids, visual | {"mm_token_type_ids": typed(ids, IMAGE)}))
    return tf.Gemma4ForConditionalGeneration(config), samples


@other
def vipllava(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.VipLlavaConfig(
        vision_config=tower(tf.CLIPVisionConfig, projection_dim=16),
        text_config=llama(),
        image_token_index=IMAGE,
        image_seq_length=16,
        vision_feature_layers=[-1, -2],
    )
    return tf.VipLlavaForConditionalGeneration(config), square(batch)


@other
def aria(batch: int) -> tuple[Any, list[Sample]]:
    # A mixture of experts over a projector's queries
    text = llama(tf.AriaTextConfig, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1, head_dim=8)
    vision = {"model_type": "idefics3_vision"} | TOWER | {"image_size": 32, "patch_size": 8}
    config = tf.AriaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, projector_patch_to_query_dict={16: 8}
    )
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(1, 3, 32, 32), "pixel_mask": torch.ones(1, 32, 32, dtype=torch.bool)}
        samples.append((prompt([[BEGIN, *[IMAGE] * 8, END]], number), visual))
    return tf.AriaForConditionalGeneration(config), samples


@other
def instructblip_t5(batch: int) -> tuple[Any, list[Sample]]:
    # An encoder-decoder inside: refused
    text = tf.T5Config(vocab_size=220, d_model=48, d_ff=96, d_kv=12, num_layers=2, num_heads=4, pad_token_id=PAD)
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "encoder_hidden_size": 32}
    config = tf.InstructBlipConfig(
        vision_config=TOWER | {"image_size": 32, "patch_size": 8, "initializer_range": 0.02},
        qformer_config=TOWER | quiet | {"vocab_size": 220},
        text_config=text.to_dict() | {"eos_token_id": EOS, "bos_token_id": BOS},
        num_query_tokens=16,
        image_token_index=IMAGE,
    )
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(1, 3, 32, 32), "qformer_input_ids": torch.randint(5, 190, (1, 6))}
        visual["qformer_attention_mask"] = torch.ones(1, 6, dtype=torch.long)
        samples.append((prompt([[IMAGE] * 16], number, before=0), visual))
    return tf.InstructBlipForConditionalGeneration(config), samples


@other
def florence2(batch: int) -> tuple[Any, list[Sample]]:
    # An encoder-decoder: refused
    text = tf.BartConfig(
        **SPECIAL,
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
    )
    vision = {"embed_dim": [8, 16, 32, 32], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2]}
    vision |= {"depths": [1, 1, 1, 1], "window_size": 4, "projection_dim": 48}
    config = tf.Florence2Config(text_config=text.to_dict(), vision_config=vision, image_token_id=IMAGE)
    return tf.Florence2ForConditionalGeneration(config), square(batch, tokens=2)
