"""What a trace costs beside plain `generate`, the floor: ratios measured side by side in one run.

    python benchmarks/trace_overhead.py

A random LLaVA of 8 layers x 16 heads with 576 image tokens, on one thread. Each round runs every variant in turn; the
median over rounds of each ratio is printed, so that a drifting machine moves both sides alike.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import lvlmscope as lv

ROUNDS, TOKENS, IMAGE_TOKENS = 7, 48, 576


def build() -> LlavaForConditionalGeneration:
    """The model: LLaVA-1.5's token counts, narrow enough for a laptop."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=336, patch_size=14
    )
    text = LlamaConfig(hidden_size=512, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=16)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=31999)
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    return model


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Runs all variants in turn and prints medians and ratios."""
    torch.set_num_threads(1)
    model = build()
    ids = torch.cat([torch.randint(5, 31000, (6,)), torch.full((IMAGE_TOKENS,), 31999), torch.randint(5, 31000, (20,))])
    inputs = {
        "input_ids": ids[None],
        "attention_mask": torch.ones_like(ids)[None],
        "pixel_values": torch.randn(1, 3, 336, 336),
    }
    options: dict[str, Any] = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    traced: dict[str, Any] = {"inputs": inputs, "progress": False} | options
    generate: Any = model.generate

    def remedied() -> None:
        with lv.intervene(model, lv.DLEAF()):
            generate(**inputs, **options)

    variants: dict[str, Callable[[], Any]] = {
        "generate": lambda: generate(**inputs, **options),
        "trace": lambda: lv.trace(model, **traced),
        "trace, gradients": lambda: lv.trace(model, gradients=True, **traced),
        "generate under DLEAF": remedied,
    }
    for run in variants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, run in variants.items():
            times[name].append(seconds(run))
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, times["generate"], strict=True))
        sys.stdout.write(f"{name:<22} {statistics.median(own):6.2f} s   {ratio:5.2f} x generate\n")


if __name__ == "__main__":
    main()
