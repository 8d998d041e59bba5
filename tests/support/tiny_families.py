"""Tiny random-weight models of every family the package names, with inputs made by hand, single or left-padded."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers as tf

from tests.support.tiny_models import BOS, EOS, IMAGE, PAD, VOCABULARY, unit_gain

VIDEO, BEGIN, END = 201, 202, 203
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
SPECIAL = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}

# One sample: token ids around its images, and its visual inputs with their own leading axis
Sample = tuple[list[int], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class FamilyCase:
    """A model in eval mode with a batch padded on the left and each sample's own inputs."""

    model: Any
    inputs: dict[str, Any]
    samples: tuple[dict[str, Any], ...]


def joined(samples: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One batch of several samples: text-shaped inputs padded on the left, visual ones one after another."""
    width = max(sample["input_ids"].shape[1] for sample in samples)
    batch = {}
    for name in samples[0]:
        parts = [sample[name] for sample in samples]
        if name in ("input_ids", "attention_mask", "cross_attention_mask") or name.endswith("token_type_ids"):
            fill = PAD if name == "input_ids" else 0
            shapes = [(part.shape[0], width - part.shape[1], *part.shape[2:]) for part in parts]
            parts = [torch.cat([p.new_full(s, fill), p], 1) for p, s in zip(parts, shapes, strict=True)]
        elif name == "image_token_pooling":  # numbers of patches, counted over the whole batch
            patches = [sample["pixel_values"].shape[:2].numel() for sample in samples]
            parts = [part + sum(patches[:number]) for number, part in enumerate(parts)]
        packed = name == "pixel_values" and "target_sizes" in samples[0]  # MiniCPM-V: one row of patches for all
        batch[name] = torch.cat(parts, -1 if packed else 0)
    return batch


def prompt(blocks: Sequence[Sequence[int]], number: int, *, before: int = 5) -> list[int]:
    """Ids with words before, between and after the image blocks; samples differ in length."""
    ids = [BOS, *torch.randint(5, 190, (before,)).tolist()]
    for place, block in enumerate(blocks):
        between = torch.randint(5, 190, (3,)).tolist() if place else []
        ids += [*between, *block]
    return [*ids, *torch.randint(5, 190, ((7, 4, 6)[number],)).tolist()]


def llama(kind: Any = tf.LlamaConfig, layers: int = 3, **options: Any) -> Any:
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 6, "num_key_value_heads": 2}
    return kind(**SPECIAL, **sizes, num_hidden_layers=layers, max_position_embeddings=512, **options)


def tower(kind: Any, image_size: int = 32, patch_size: int = 8, **options: Any) -> Any:
    return kind(**TOWER, image_size=image_size, patch_size=patch_size, **options)


Builder = Callable[[int], tuple[Any, list[Sample]]]
FAMILIES: dict[str, Callable[..., FamilyCase]] = {}


def registering(cases: dict[str, Callable[..., FamilyCase]]) -> Callable[[Builder], Builder]:
    """A decorator that registers builders under their functions' names.

    Args:
        cases: Where.
    """

    def registered(build: Builder) -> Builder:
        cases[build.__name__] = _case_maker(build)
        return build

    return registered


def _case_maker(build: Builder) -> Callable[..., FamilyCase]:
    def made(batch: int = 1, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> FamilyCase:
        torch.manual_seed(seed)
        model, samples = build(batch)
        model = livened(unit_gain(model, seed))
        if dtype != torch.float32:  # a cast would drop the imaginary part of Llama4's complex positions
            model = model.to(dtype)
        dicts = []
        for ids, visual in samples:
            text = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
            cast = {n: v.to(dtype) if v.is_floating_point() else v for n, v in visual.items()}
            dicts.append(text | cast)
        return FamilyCase(model, joined(dicts), tuple(dicts))

    return made


family = registering(FAMILIES)


@torch.no_grad()
def livened(model: Any) -> Any:
    """Weights outside linear layers at unit gain, and gates open, so that the image acts."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            module.weight.normal_(0, 1 / math.sqrt(module.weight[0].numel()))
    for name, weight in model.named_parameters():
        if "gate" in name and weight.dim() == 1:
            weight.fill_(0.7)
        elif any(part in name for part in ("query_tokens", "latents", "class_embedding", "cls_token", "newline")):
            weight.normal_(0, 1)
    return model


def pixels(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def typed(ids: Sequence[int], token: int, value: int = 1) -> torch.Tensor:
    return (torch.tensor([ids]) == token).long() * value


def _llava(batch: int, images: int) -> tuple[Any, list[Sample]]:
    vision = tower(tf.CLIPVisionConfig, projection_dim=16)
    config = tf.LlavaConfig(vision_config=vision, text_config=llama(), image_token_id=IMAGE, image_seq_length=16)
    blocks = [[IMAGE] * 16] * images
    samples = [(prompt(blocks, n), {"pixel_values": pixels(images, 3, 32, 32)}) for n in range(batch)]
    return tf.LlavaForConditionalGeneration(config), samples


@family
def llava(batch: int) -> tuple[Any, list[Sample]]:
    return _llava(batch, 1)


@family
def llava_two_images(batch: int) -> tuple[Any, list[Sample]]:
    return _llava(batch, 2)


@family
def llava_next(batch: int) -> tuple[Any, list[Sample]]:
    # 32 high x 64 wide: overview of 16, then a grid of 4 x 8 with a newline after each row
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    config = tf.LlavaNextConfig(
        vision_config=tower(tf.CLIPVisionConfig, projection_dim=16),
        text_config=llama(tf.MistralConfig, sliding_window=None),
        image_token_id=IMAGE,
        image_grid_pinpoints=pinpoints,
        image_seq_length=16,
    )
    size = torch.tensor([[32, 64]])
    samples = [
        (prompt([[IMAGE] * 52], n), {"pixel_values": pixels(1, 3, 3, 32, 32), "image_sizes": size})
        for n in range(batch)
    ]
    return tf.LlavaNextForConditionalGeneration(config), samples


@family
def llava_onevision(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.LlavaOnevisionConfig(
        vision_config=tower(tf.SiglipVisionConfig, vision_use_head=False),
        text_config=llama(tf.Qwen2Config),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
        vision_aspect_ratio="anyres_max_9",
    )
    visual = {"image_sizes": torch.tensor([[32, 64]]), "batch_num_images": torch.ones(1, dtype=torch.long)}
    samples = [(prompt([[IMAGE] * 52], n), {"pixel_values": pixels(1, 3, 3, 32, 32)} | visual) for n in range(batch)]
    return tf.LlavaOnevisionForConditionalGeneration(config), samples


def _qwen(
    batch: int, grids: Sequence[Sequence[tuple[int, int, int]]], *, video: bool = False
) -> tuple[list[Sample], dict[str, Any]]:
    token = VIDEO if video else IMAGE
    samples = []
    for number in range(batch):
        own = grids[number]
        ids = prompt([[BEGIN, *[token] * (t * h * w // 4), END] for t, h, w in own], number)
        grid, patches = torch.tensor(own), torch.cat([pixels(t * h * w, 3 * 2 * 64) for t, h, w in own])
        visual = (
            {"pixel_values_videos": patches, "video_grid_thw": grid}
            if video
            else {"pixel_values": patches, "image_grid_thw": grid}
        )
        samples.append((ids, visual | {"mm_token_type_ids": typed(ids, token, 2 if video else 1)}))
    text = SPECIAL | {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "rope_parameters": MROPE}
    tokens = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": BEGIN}
    return samples, {"text_config": text, **tokens, "vision_end_token_id": END}


QWEN_TOWER = {"depth": 2, "num_heads": 2, "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2}
ONE = [[(1, 8, 12)], [(1, 8, 8)]]


@family
def qwen2_vl(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = _qwen(batch, ONE)
    vision = QWEN_TOWER | {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    return tf.Qwen2VLForConditionalGeneration(tf.Qwen2VLConfig(**options, vision_config=vision)), samples


def _qwen2_5(batch: int, grids: Any, *, video: bool = False) -> tuple[Any, list[Sample]]:
    samples, options = _qwen(batch, grids, video=video)
    vision = QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "window_size": 32, "out_hidden_size": 64}
    config = tf.Qwen2_5_VLConfig(**options, vision_config=vision | {"fullatt_block_indexes": [1]})
    return tf.Qwen2_5_VLForConditionalGeneration(config), samples


@family
def qwen2_5_vl(batch: int) -> tuple[Any, list[Sample]]:
    return _qwen2_5(batch, ONE)


@family
def qwen2_5_vl_two_images(batch: int) -> tuple[Any, list[Sample]]:
    return _qwen2_5(batch, [[(1, 8, 12), (1, 4, 8)], [(1, 8, 8), (1, 8, 4)]])


@family
def qwen2_5_vl_video(batch: int) -> tuple[Any, list[Sample]]:
    return _qwen2_5(batch, [[(3, 8, 4)], [(2, 4, 8)]], video=True)


@family
def qwen3_vl(batch: int) -> tuple[Any, list[Sample]]:
    samples, options = _qwen(batch, ONE)
    options["text_config"] |= {"head_dim": 16, "rope_parameters": MROPE | {"mrope_interleaved": True}}
    vision = QWEN_TOWER | {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
    vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    return tf.Qwen3VLForConditionalGeneration(tf.Qwen3VLConfig(**options, vision_config=vision)), samples


def _idefics3(batch: int, model: Any, config: Any) -> tuple[Any, list[Sample]]:
    # Two sub-images: 8 x 8 patches each, 2 x 2 shuffled to 16 tokens, between markers
    vision = TOWER | {"image_size": 32, "patch_size": 4}
    made = config(vision_config=vision, text_config=llama(), image_token_id=IMAGE, scale_factor=2, pad_token_id=PAD)
    block = [BEGIN, *[IMAGE] * 16, BEGIN, *[IMAGE] * 16, END]
    mask = torch.ones(1, 2, 32, 32, dtype=torch.long)
    samples = [
        (prompt([block], n), {"pixel_values": pixels(1, 2, 3, 32, 32), "pixel_attention_mask": mask})
        for n in range(batch)
    ]
    return model(made), samples


@family
def idefics3(batch: int) -> tuple[Any, list[Sample]]:
    return _idefics3(batch, tf.Idefics3ForConditionalGeneration, tf.Idefics3Config)


@family
def smolvlm(batch: int) -> tuple[Any, list[Sample]]:
    return _idefics3(batch, tf.SmolVLMForConditionalGeneration, tf.SmolVLMConfig)


@family
def internvl(batch: int) -> tuple[Any, list[Sample]]:
    # Two tiles: 8 x 8 patches each, shuffled to 16 tokens, in one run
    config = tf.InternVLConfig(
        vision_config=TOWER | {"image_size": [64, 64], "patch_size": [8, 8]},
        text_config=llama(tf.Qwen2Config),
        image_token_id=IMAGE,
        image_seq_length=16,
        downsample_ratio=0.5,
    )
    block = [BEGIN, *[IMAGE] * 32, END]
    samples = [(prompt([block], n), {"pixel_values": pixels(2, 3, 64, 64)}) for n in range(batch)]
    return tf.InternVLForConditionalGeneration(config), samples


@family
def gemma3(batch: int) -> tuple[Any, list[Sample]]:
    return windowed_gemma3(batch, "ssfs")


def windowed_gemma3(batch: int, kinds: str) -> tuple[Any, list[Sample]]:
    """Layers by letter: s for a sliding window of 12 keys, f for full attention."""
    types = [{"s": "sliding_attention", "f": "full_attention"}[kind] for kind in kinds]
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": len(types)}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "query_pre_attn_scalar": 12}
    text |= {"max_position_embeddings": 512, "sliding_window": 12, "layer_types": types}
    config = tf.Gemma3Config(
        text_config=text,
        vision_config=TOWER | {"image_size": 32, "patch_size": 4, "vision_use_head": False},
        mm_tokens_per_image=16,
        tie_word_embeddings=False,
        image_token_index=IMAGE,
        boi_token_index=BEGIN,
        eoi_token_index=END,
    )
    samples = []
    for number in range(batch):
        ids = prompt([[BEGIN, *[IMAGE] * 16, END]], number)
        samples.append((ids, {"pixel_values": pixels(1, 3, 32, 32), "token_type_ids": typed(ids, IMAGE)}))
    model = tf.Gemma3ForConditionalGeneration(config)
    weight = model.model.multi_modal_projector.mm_input_projection_weight  # made as zeros, which show no image
    torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(0))
    return model, samples


@family
def paligemma(batch: int) -> tuple[Any, list[Sample]]:
    text = SPECIAL | {"model_type": "gemma", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 12, "max_position_embeddings": 512}
    config = tf.PaliGemmaConfig(
        text_config=text | {"tie_word_embeddings": False},
        vision_config=TOWER | {"image_size": 32, "patch_size": 8, "vision_use_head": False, "projection_dim": 48},
        image_token_index=IMAGE,
        projection_dim=48,
        hidden_size=48,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
    )
    samples = []
    for number in range(batch):
        ids = prompt([[IMAGE] * 16], number)  # token type 0: the prefix, which sees itself whole
        types = torch.zeros(1, len(ids), dtype=torch.long)
        samples.append((ids, {"pixel_values": pixels(1, 3, 32, 32), "token_type_ids": types}))
    return tf.PaliGemmaForConditionalGeneration(config), samples


def _broken_rows(batch: int) -> list[Sample]:
    # 32 x 48 pixels: a grid of 4 x 6 with a break token after each row but the last
    row = [IMAGE] * 6
    block = [*row, BEGIN, *row, BEGIN, *row, BEGIN, *row, END]
    size = torch.tensor([[32, 48]])
    return [(prompt([block], n), {"pixel_values": pixels(1, 3, 32, 48), "image_sizes": size}) for n in range(batch)]


PIXTRAL_TOWER = TOWER | {"model_type": "pixtral", "head_dim": 16, "image_size": 64, "rope_theta": 10000.0}


@family
def mistral3(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.Mistral3Config(
        text_config=llama(tf.MistralConfig, head_dim=8, sliding_window=None),
        vision_config=PIXTRAL_TOWER | {"patch_size": 4},
        image_token_index=IMAGE,
        spatial_merge_size=2,
    )
    return tf.Mistral3ForConditionalGeneration(config), _broken_rows(batch)


@family
def pixtral(batch: int) -> tuple[Any, list[Sample]]:
    config = tf.LlavaConfig(
        text_config=llama(tf.MistralConfig, head_dim=8, sliding_window=None),
        vision_config=PIXTRAL_TOWER | {"patch_size": 8},
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return tf.LlavaForConditionalGeneration(config), _broken_rows(batch)


@family
def aya_vision(batch: int) -> tuple[Any, list[Sample]]:
    types = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
    config = tf.AyaVisionConfig(
        vision_config=tower(tf.SiglipVisionConfig, patch_size=4, vision_use_head=False),
        text_config=llama(tf.Cohere2Config, layers=4, sliding_window=12, layer_types=types),
        image_token_index=IMAGE,
        downsample_factor=2,
        adapter_layer_norm_eps=1e-6,
    )
    block = [BEGIN, *[IMAGE] * 16, END]
    samples = [(prompt([block], n), {"pixel_values": pixels(1, 3, 32, 32)}) for n in range(batch)]
    return tf.AyaVisionForConditionalGeneration(config), samples


@family
def instructblip(batch: int) -> tuple[Any, list[Sample]]:
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
    config = tf.InstructBlipConfig(
        vision_config=TOWER | {"image_size": 32, "patch_size": 8, "initializer_range": 0.02},
        qformer_config=TOWER | quiet | {"vocab_size": VOCABULARY},
        text_config=text.to_dict(),
        num_query_tokens=16,
        image_token_index=IMAGE,
    )
    samples = []
    for number in range(batch):
        visual = {"pixel_values": pixels(1, 3, 32, 32), "qformer_input_ids": torch.randint(5, 190, (1, 6))}
        visual["qformer_attention_mask"] = torch.ones(1, 6, dtype=torch.long)
        samples.append((prompt([[IMAGE] * 16], number, before=0), visual))
    return tf.InstructBlipForConditionalGeneration(config), samples


@family
def mllama(batch: int) -> tuple[Any, list[Sample]]:
    ratios = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1}
    vision |= {"attention_heads": 2, "image_size": 32, "patch_size": 8, "max_num_tiles": 4, "vision_output_dim": 64}
    vision |= {"intermediate_layers_indices": [0], "supported_aspect_ratios": ratios}
    text = SPECIAL | {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 6}
    text |= {"num_key_value_heads": 2, "cross_attention_layers": [1, 3], "max_position_embeddings": 512}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    config = tf.MllamaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    samples = []
    for number in range(batch):
        ids, tiles = prompt([[IMAGE]], number, before=0), (4, 2)[number]  # 2 x 2 tiles, then 1 x 2
        crossed = torch.zeros(1, len(ids), 1, 4, dtype=torch.long)
        crossed[0, ids.index(IMAGE) :, 0, :tiles] = 1
        visual = {"pixel_values": pixels(1, 1, 4, 3, 32, 32), "aspect_ratio_ids": torch.tensor([[(6, 2)[number]]])}
        used = (torch.arange(4) < tiles).long()
        samples.append((ids, visual | {"aspect_ratio_mask": used[None, None], "cross_attention_mask": crossed}))
    return tf.MllamaForConditionalGeneration(config), samples
