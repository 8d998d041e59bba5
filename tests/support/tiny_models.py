"""Tiny random-weight models with prepared inputs, single or left-padded, and a processor made in memory."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

VOCABULARY = 220
PAD, BOS, EOS, UNKNOWN = 0, 1, 2, 3
IMAGE = 200
# Never generated: special ids would end an answer early or fake an image
SUPPRESSED = [PAD, BOS, EOS, *range(198, VOCABULARY)]


@dataclass(frozen=True)
class TinyCase:
    """A model in eval mode, inputs for ``generate``, and which positions hold image tokens."""

    model: Any
    inputs: dict[str, Any]
    image_mask: torch.Tensor

    def sample(self, index: int) -> dict[str, Any]:
        """One sample's inputs without padding (per-sample tensors only)."""
        keep = self.inputs["attention_mask"][index].bool()
        one = {}
        for name, value in self.inputs.items():
            cut = value[index : index + 1]
            one[name] = cut[:, keep] if name in ("input_ids", "attention_mask") else cut
        return one


@torch.no_grad()
def unit_gain(model: Any, seed: int) -> Any:
    """Weights of unit gain: the usual 0.02 gives flat attention and hides errors."""
    torch.manual_seed(seed + 1)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.normal_(0, 1 / math.sqrt(module.weight.shape[1]))
            if any(part in name for part in ("q_proj", "k_proj", "qkv", "query", "key")):
                module.weight.mul_(1.5)
        elif isinstance(module, torch.nn.Embedding):
            module.weight.normal_(0, 1)
    model.generation_config = GenerationConfig(eos_token_id=EOS, pad_token_id=PAD, bos_token_id=BOS)
    return model.eval()


def left_padded(blocks: Sequence[Sequence[int]], after: Sequence[int] = (7, 4, 6)) -> dict[str, torch.Tensor]:
    """Prompts of different lengths around the image blocks, padded on the left."""
    rows = []
    for number, block in enumerate(blocks):
        before = torch.randint(5, 190, (5,)).tolist()
        rows.append([BOS, *before, *block, *torch.randint(5, 190, (after[number],)).tolist()])
    width = max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def llava(batch: int = 1, *, seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 3) -> TinyCase:
    """LLaVA with 16 image tokens, 6 query heads over 2 key heads."""
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, image_seq_length=16)
    model = unit_gain(LlavaForConditionalGeneration(config), seed).to(dtype)
    inputs: dict[str, Any] = left_padded([[IMAGE] * 16] * batch)
    inputs["pixel_values"] = torch.randn(batch, 3, 32, 32).to(dtype)
    return TinyCase(model, inputs, inputs["input_ids"] == IMAGE)


def footprint(model: Any) -> list[Any]:
    """Everything an attachment could leave behind: hooks, kernels, shadowed methods, registered functions."""
    modules = [
        (name, sorted(module._forward_hooks), sorted(module._forward_pre_hooks), sorted(vars(module)))
        for name, module in model.named_modules()
    ]
    kernels = [m.config._attn_implementation for m in model.modules() if hasattr(m, "config")]
    registered = [dict(AttentionInterface._global_mapping), dict(AttentionMaskInterface._global_mapping)]
    lookups = [vars(AttentionInterface).get(name) for name in ("get_interface", "__getitem__")]
    homes = {type(module).__module__ for module in model.modules()}
    eager = {name: vars(sys.modules[name]).get("eager_attention_forward") for name in homes}
    return [modules, kernels, registered, lookups, eager]


def processor() -> LlavaProcessor:
    """A LLaVA processor for the tiny model: one word a token, no files."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<pad>", "<s>", "</s>", "<unk>", "USER:", "ASSISTANT:"]
    words += [f"w{number}" for number in range(len(words), VOCABULARY)]
    words[IMAGE] = "<image>"
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<image>"]})
    fast.padding_side = "left"
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return LlavaProcessor(
        image_processor=images,
        tokenizer=fast,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
    )
