"""What SGRS costs beside plain `generate` on the bundled model: ratios measured side by side in one run.

    python benchmarks/sgrs_overhead.py

On one thread, alone and in a batch of 16; every run writes 48 tokens. Each round runs every variant in turn; the median
over rounds of each ratio is printed, so that a drifting machine moves both sides alike.
"""

import statistics
import sys
import time
from typing import Any

import torch

import lvlmscope as lv
from lvlmscope.evaluation.labelled_images import PROMPT
from lvlmscope.interventions import SGRS
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.tiny import scenes

ROUNDS, TOKENS = 7, 48
VARIANTS: dict[str, tuple[Intervention, ...]] = {
    "generate": (),
    "alpha=0 (no gradients)": (SGRS(alpha=0.0),),
    "SGRS, defaults": (SGRS(),),
    "SGRS, k=10": (SGRS(k=10),),
    "SGRS, layers=[6]": (SGRS(layers=[6]),),
}


def seconds(model: Any, inputs: dict[str, Any], stack: tuple[Intervention, ...]) -> float:
    """Wall time of one call of `generate`."""
    began = time.perf_counter()
    with lv.intervene(model, *stack):
        model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    return time.perf_counter() - began


def main() -> None:
    """Runs all variants in turn and prints medians and ratios."""
    torch.set_num_threads(1)
    loaded = lv.load("tiny")
    image = next(iter(scenes("neutral", n=1, seed=0))).image
    turns = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": PROMPT}]}]
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    for batch in (1, 16):
        inputs = dict(loaded.processor(images=[image] * batch, text=[text] * batch, return_tensors="pt"))
        times: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for number in range(ROUNDS + 1):
            for name, stack in VARIANTS.items():
                spent = seconds(loaded.model, inputs, stack)
                if number:  # the first round warms up
                    times[name].append(spent)
        for name, own in times.items():
            ratio = statistics.median(a / b for a, b in zip(own, times["generate"], strict=True))
            sys.stdout.write(
                f"batch {batch:>2}  {name:<24} {statistics.median(own):6.2f} s   {ratio:5.2f} x generate\n"
            )


if __name__ == "__main__":
    main()
