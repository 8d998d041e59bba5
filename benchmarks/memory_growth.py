"""Memory beside plain `generate`, the floor, as the prompt grows: resident peaks of processes of their own.

    python benchmarks/memory_growth.py

A random LLaVA of 8 layers x 16 heads, hidden size 512, 576 image tokens, 48 new tokens, float32 and one thread; the prompt
is filled up with text. Each figure is the peak of a fresh process (`ru_maxrss`) less that of `generate` on the same prompt;
beside it stands what `lvlmscope.estimate` says before anything runs.
"""

import argparse
import resource
import subprocess
import sys
from typing import Any

import torch
from trace_overhead import TOKENS, build, prompt

import lvlmscope as lv

LENGTHS = (600, 1_200, 2_400, 4_800)
VARIANTS = ("generate", "trace", "trace, gradients", "generate, eager, output_attentions")
OPTIONS: dict[str, Any] = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}


def filled(length: int) -> dict[str, torch.Tensor]:
    """The prompt with text up to a length."""
    inputs = prompt()
    ids = inputs["input_ids"]
    ids = ids[:, :length] if ids.shape[1] > length else torch.cat([ids, torch.full((1, length - ids.shape[1]), 77)], 1)
    return inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def run(variant: str, length: int) -> None:
    """One variant, whose process then tells its peak in KiB."""
    torch.set_num_threads(1)
    model, inputs = build(), filled(length)
    model.config.get_text_config().max_position_embeddings = 8_192
    generate: Any = model.generate
    if variant == "generate":
        generate(**inputs, **OPTIONS)
    elif variant.startswith("trace"):
        lv.trace(model, inputs=inputs, gradients="gradients" in variant, progress=False, **OPTIONS)
    else:
        model.set_attn_implementation("eager")
        generate(**inputs, **OPTIONS, output_attentions=True, return_dict_in_generate=True)
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


def peak(variant: str, length: int) -> float:
    """Peak of a fresh process, MB."""
    command = [sys.executable, __file__, "--variant", variant, "--length", str(length)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(told.stdout.split()[-1]) * 1_024 / 1e6


def main() -> None:
    """The table, or one variant of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS)
    parser.add_argument("--length", type=int, default=LENGTHS[0])
    asked = parser.parse_args()
    if asked.variant:
        run(asked.variant, asked.length)
        return
    model = build()
    sys.stdout.write(
        f"{'MB above generate':<36}" + "".join(f"{length:>9,}" for length in LENGTHS) + "  prompt tokens\n"
    )
    floor = {length: peak("generate", length) for length in LENGTHS}
    for variant in VARIANTS[1:]:
        more = [peak(variant, length) - floor[length] for length in LENGTHS]
        sys.stdout.write(f"{variant:<36}" + "".join(f"{size:9.0f}" for size in more) + "\n")
    for gradients in (False, True):
        told = [
            lv.estimate(model, inputs=filled(length), gradients=gradients, max_new_tokens=TOKENS).peak / 1e6
            for length in LENGTHS
        ]
        name = "lvlmscope.estimate" + (", gradients" if gradients else "")
        sys.stdout.write(f"{name:<36}" + "".join(f"{size:9.0f}" for size in told) + "\n")
    sys.stdout.write(f"{'generate itself':<36}" + "".join(f"{floor[length]:9.0f}" for length in LENGTHS) + "\n")


if __name__ == "__main__":
    main()
