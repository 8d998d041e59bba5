"""Memory beside plain `generate`, the floor, as the prompt grows: resident peaks of processes of their own.

    python benchmarks/memory_growth.py

A random LLaVA of 8 layers x 16 heads, hidden size 512, 576 image tokens, 48 new tokens, float32 and one thread; the
prompt is filled up with text. Each figure is the peak of a fresh process (`ru_maxrss`) less that of `generate` on the
same prompt; beside it stands what `lvlmscope.estimate` says before anything runs.
"""

import resource
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from trace_overhead import TOKENS, build, prompt

import lvlmscope as lv

LENGTHS = (600, 1_200, 2_400, 4_800)
VARIANTS = ("trace", "trace, gradients", "generate, eager, output_attentions")
OPTIONS: dict[str, Any] = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}


def filled(length: int) -> dict[str, torch.Tensor]:
    """The prompt with text up to a length."""
    inputs = prompt()
    ids = inputs["input_ids"]
    ids = ids[:, :length] if ids.shape[1] > length else torch.cat([ids, torch.full((1, length - ids.shape[1]), 77)], 1)
    return inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def peak(variant: str, length: int) -> float:
    """Peak of this process after one variant, MB."""
    torch.set_num_threads(1)
    model, inputs = build(), filled(length)
    model.config.get_text_config().max_position_embeddings = 8_192
    generate: Any = model.generate
    if variant == "generate":
        generate(**inputs, **OPTIONS)
    elif variant.startswith("trace"):
        lv.trace_inputs(model, inputs, gradients="gradients" in variant, progress=False, **OPTIONS)
    else:
        model.set_attn_implementation("eager")
        generate(**inputs, **OPTIONS, output_attentions=True, return_dict_in_generate=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / 1e6


def estimated(length: int, *, gradients: bool) -> float:
    """What the estimate says, MB."""
    told = lv.estimate(build(), inputs=filled(length), gradients=gradients, max_new_tokens=TOKENS)
    return told.peak / 1e6


def show(name: str, sizes: Iterable[float]) -> None:
    """One line of the table."""
    sys.stdout.write(f"{name:<36}" + "".join(f"{size:9,.0f}" for size in sizes) + "\n")


def main() -> None:
    """The table; each peak is measured in a process of its own."""
    show("MB above generate, by prompt tokens", LENGTHS)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        floor = list(pool.map(peak, ["generate"] * len(LENGTHS), LENGTHS))
        for variant in VARIANTS:
            found = pool.map(peak, [variant] * len(LENGTHS), LENGTHS)
            show(variant, (size - least for size, least in zip(found, floor, strict=True)))
    for name, gradients in (("lvlmscope.estimate", False), ("lvlmscope.estimate, gradients", True)):
        show(name, (estimated(length, gradients=gradients) for length in LENGTHS))
    show("generate itself", floor)


if __name__ == "__main__":
    main()
