"""Hallucinated words by bins of saliency, and what an artificial decay of the attention on the last words does.

python docs/studies/scripts/saliency_and_decay.py --images 25 --figures docs/images
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lvlmscope as lv
from lvlmscope.evaluation import bundled_dataset, label_words, markdown, rate_by_bin, setting_differences, vocabulary
from lvlmscope.tiny import Scene, scenes

PROMPT = "Describe the image."
TOKENS = 40
SPLITS = ("neutral", "prior", "hard")
DECAYS = (0.25, 0.5, 0.75, 1.0)
SIGNALS = ("saliency_to_previous", "saliency_to_answer", "log_prob")


def main() -> None:
    """Prints both tables; with --figures also draws them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=25, help="scenes of each split")
    parser.add_argument("--figures", type=Path, default=None)
    given = parser.parse_args()
    model = lv.load("tiny")
    held = [scene for split in SPLITS for scene in scenes(split, n=given.images)]
    bins(model, held, given.figures)
    decay(model, given.images, given.figures)


def write(text: str) -> None:
    """A line of the page."""
    sys.stdout.write(f"{text}\n")


def bins(model: lv.LoadedModel, held: Sequence[Scene], figures: Path | None) -> None:
    """The rate of hallucination where a signal is low, and where it is high."""
    options: dict[str, Any] = {"gradients": True, "max_new_tokens": TOKENS, "do_sample": False, "progress": False}
    traces = [lv.trace(model, scene.image, PROMPT, **options) for scene in held]
    labels = [label_words(trace, scene.present, vocabulary()) for trace, scene in zip(traces, held, strict=True)]
    write("| signal | bin | mean value | words | hallucinated |")
    write("|---|---|---|---|---|")
    for name in SIGNALS:
        found = rate_by_bin(traces, name, labels, bins=4)
        for number in range(found.sizes["bin"]):
            one = found.isel(bin=number)
            rate, low, high = (100 * float(one[part]) for part in ("rate", "low", "high"))
            write(
                f"| `{name}` | {number + 1} | {float(one['centre']):.3f} | {int(one['count'])} "
                f"| {rate:.1f} % [{low:.1f}, {high:.1f}] |"
            )
        if figures is not None and name == SIGNALS[0]:
            lv.plot.rates(found).savefig(figures / "saliency_rates.png", dpi=130, bbox_inches="tight")


def decay(model: lv.LoadedModel, images: int, figures: Path | None) -> None:
    """Captions with the attention on the last five words lowered, and placebos of the same size."""
    stacks = {f"decay {one:g}": lv.LocoRE(beta=-one, mode="renorm") for one in DECAYS}
    data = bundled_dataset("tiny-chair", n=images)
    result = lv.evaluate(model, data, stacks, placebo=True, max_new_tokens=TOKENS)
    write(markdown(result))
    if figures is not None:
        found = setting_differences(result, scores=["chair_i", "recall"])
        lv.plot.ablation(found).savefig(figures / "decay.png", dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    main()
