"""What a trace costs beside plain `generate`, the floor, and beside the ways people read attention today.

    python benchmarks/trace_overhead.py [--threads 1] [--rounds 5]

A random LLaVA of 8 layers x 16 heads, hidden size 512, with 576 image tokens and 48 new tokens; float32. Each round
runs every variant in turn; the median over rounds of each ratio to `generate` is printed, so that a machine that slows
down moves both sides alike. "one backward per token" is what saliency takes without the block: a forward over prompt
and prefix with eager attention, and a backward to its attention weights, for each of the 48 tokens; it is run once.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import lvlmscope as lv

TOKENS, IMAGE_TOKENS, IMAGE = 48, 576, 31_999


def build() -> LlavaForConditionalGeneration:
    """The model: LLaVA-1.5's token counts, narrow enough for a laptop."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=336, patch_size=14
    )
    text = LlamaConfig(hidden_size=512, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=16)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE))
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    return model.eval().requires_grad_(requires_grad=False)


def prompt() -> dict[str, torch.Tensor]:
    """26 text tokens around one image."""
    ids = torch.cat(
        [torch.randint(5, 31_000, (6,)), torch.full((IMAGE_TOKENS,), IMAGE), torch.randint(5, 31_000, (20,))]
    )[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, 3, 336, 336)}


def one_backward_per_token(model: Any, inputs: dict[str, Any]) -> None:
    """Gradients of each token's loss to the attention, by a forward and a backward of its own."""
    answer = model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    model.set_attn_implementation("eager")
    try:
        start = inputs["input_ids"].shape[1]
        model.model.language_model.embed_tokens.weight.requires_grad_(requires_grad=True)  # a leaf to hang the graph on
        for step in range(TOKENS):
            ids = answer[:, : start + step]
            given = inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            output = model(**given, output_attentions=True, logits_to_keep=1)
            loss = -output.logits[0, -1].log_softmax(-1)[answer[0, start + step]]
            torch.autograd.grad(loss, output.attentions)
    finally:
        model.model.language_model.embed_tokens.weight.requires_grad_(requires_grad=False)
        model.set_attn_implementation("sdpa")


def eager_attentions(model: Any, inputs: dict[str, Any], options: dict[str, Any]) -> None:
    """What `generate(output_attentions=True)` takes."""
    model.set_attn_implementation("eager")
    try:
        model.generate(**inputs, **options, output_attentions=True, return_dict_in_generate=True)
    finally:
        model.set_attn_implementation("sdpa")


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one run."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Runs all variants in turn and prints medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    model, inputs = build(), prompt()
    options: dict[str, Any] = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    traced: dict[str, Any] = {"inputs": inputs, "progress": False} | options
    generate: Any = model.generate

    def edited() -> None:
        with lv.intervene(model, lv.DLEAF()):
            generate(**inputs, **options)

    variants: dict[str, Callable[[], Any]] = {
        "generate": lambda: generate(**inputs, **options),
        "trace": lambda: lv.trace_inputs(model, **traced),
        "trace, gradients": lambda: lv.trace_inputs(model, gradients=True, **traced),
        "generate under DLEAF": edited,
        "generate, eager, output_attentions": lambda: eager_attentions(model, inputs, options),
    }
    for run in variants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(asked.rounds):
        for name, run in variants.items():
            times[name].append(seconds(run))
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, times["generate"], strict=True))
        sys.stdout.write(f"{name:<36} {statistics.median(own):7.2f} s   {ratio:6.2f} x generate\n")
    slow = seconds(lambda: one_backward_per_token(model, inputs))
    plain, ours = statistics.median(times["generate"]), statistics.median(times["trace, gradients"])
    sys.stdout.write(f"{'one backward per token':<36} {slow:7.2f} s   {slow / plain:6.2f} x generate\n")
    sys.stdout.write(
        f"rows and gradients of {TOKENS} tokens, beside one backward per token: {slow / ours:.0f} times faster in all, "
        f"{(slow - plain) / (ours - plain):.0f} times without the answer's own generation\n"
    )


if __name__ == "__main__":
    main()
