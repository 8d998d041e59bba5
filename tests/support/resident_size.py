"""A process that traces one shape and prints what it held: run by tests/capture/test_resident_memory.py."""

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import lvlmscope as lv

IMAGE, TOKENS = 200, 16


def resident(name: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at most since the last reset."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def held_by(call: Any) -> tuple[Any, int]:
    """What a call gives, and the bytes it held at most beyond those before it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before = resident("VmRSS")
    result = call()
    return result, resident("VmHWM") - before


def built(layers: int, heads: int, vocabulary: int) -> Any:
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
        vocab_size=vocabulary,
        hidden_size=heads * 8,
        intermediate_size=heads * 16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=4096,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, image_seq_length=TOKENS)
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model


def main(words: int, steps: int, layerwise: bool = False, reduced: str = "", mixed: bool = False, **shape: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = built(**shape)
    ids = torch.cat([torch.full((1, TOKENS), IMAGE), torch.randint(5, 190, (1, words))], 1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, 3, 32, 32)}
    short = inputs | {"input_ids": ids[:, :20], "attention_mask": torch.ones(1, 20, dtype=torch.int64)}
    lv.trace_inputs(model, short, max_new_tokens=2, gradients=layerwise)  # what a first call leaves is not counted

    def generate() -> Any:
        returned: dict[str, Any] = {"return_dict_in_generate": True, "output_logits": True}
        return model.generate(**inputs, max_new_tokens=steps, **returned)

    generate()
    _, generated = held_by(generate)
    stack = [lv.ICD(disturbance=(7, 8)), lv.M3ID()] if mixed else []
    options: dict[str, Any] = {"max_new_tokens": steps, "gradients": layerwise, "interventions": stack}
    stated = lv.estimate(model, inputs=inputs, layerwise=layerwise, **options)
    promised, kept = stated.peak, stated.kept
    if reduced:
        names = [each.name for each in lv.list_signals() if not each.needs and (each.stepwise or reduced == "whole")]
        options |= {"keep": "signals", "signals": names}
        promised = stated.held(3) if reduced == "whole" else stated.held(3) // 3
        lv.trace_inputs(model, short, **(options | {"max_new_tokens": 2}))
        kept = promised // 3
    (made,), traced = held_by(lambda: lv.trace_inputs(model, inputs, max_memory=promised, **options))
    told = made.provenance["replay"]
    found = {"kept": kept, "promised": promised, "generated": generated, "traced": traced, "window": told.get("window")}
    print(json.dumps(found | {"layerwise": told["layerwise"]}))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
