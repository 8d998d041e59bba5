"""Makes the images and numbers of docs/studies/perturbation-attribution.md; some minutes.

python docs/studies/scripts/perturbation_attribution.py
"""

import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

import lvlmscope as lv
from lvlmscope.tiny import scene

IMAGES = Path(__file__).parents[2] / "images"
WORDS = ["a handbag", "an airplane"]


def say(*parts: object) -> None:
    """Print."""
    sys.stdout.write(" ".join(map(str, parts)) + "\n")
    sys.stdout.flush()


def attention(trace: lv.Trace, steps: slice) -> xr.DataArray:
    """Mean attention on each image token, over steps, layers and heads."""
    keys = np.flatnonzero(trace.image_keys)
    values = trace.attention[steps].mean((0, 1, 2)).numpy()[keys]
    return xr.DataArray(values, dims="key", coords={"key": keys})


def main() -> None:
    """Prints every number that the page shows, and draws its image."""
    model = lv.load("tiny")
    options = {"max_new_tokens": 48, "gradients": True, "hidden_states": True, "progress": False}
    trace = lv.trace(model, scene("prior", 0).image, "Describe the image.", **options)
    start = time.perf_counter()
    covered = lv.occlusion(trace, model, words=WORDS)
    say(f"occlusion: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    shares = lv.integrated_gradients(trace, model, words=WORDS)
    say(f"integrated gradients: {time.perf_counter() - start:.1f} s")
    for place, word in enumerate(WORDS):
        row, column = np.unravel_index(int(covered[place].values.argmax()), covered[place].shape)
        say(word, f"{float(covered.score[place]):.2f}", f"{float(covered[place].max()):.2f}", (int(row), int(column)))
    say(shares.sum("key").values.round(4), shares.difference.values.round(4))
    lv.plot.overlay(trace, WORDS, values=covered).savefig(IMAGES / "occlusion.png", dpi=130)
    lv.plot.overlay(trace, WORDS, values=shares).savefig(IMAGES / "integrated_gradients.png", dpi=130)

    shown = scene("prior", 0)
    boxes = np.zeros((shown.image.height, shown.image.width), dtype=int)
    for number, (left, top, right, bottom) in enumerate(shown.boxes, start=1):
        boxes[top:bottom, left:right] = number
    whole = lv.occlusion(trace, model, words=WORDS, mask=boxes)
    for number, name in enumerate(("background", *shown.objects)):
        row, column = np.argwhere(boxes == number)[0]
        say(name, *(f"{float(whole[place, row, column]):+.2f}" for place in range(len(WORDS))))

    word, steps = WORDS[0], slice(int(shares.first_step[0]), int(shares.last_step[0]) + 1)
    saliency = lv.saliency(trace).isel(step=steps).mean(("layer", "step"))
    maps = {
        "integrated gradients": shares[0],
        "attention": attention(trace, steps),
        "saliency (gradient x attention)": saliency,
        "flat": xr.zeros_like(shares[0]) + 1,
        "empty": xr.zeros_like(shares[0]),
    }
    for name, one in maps.items():
        found = lv.infidelity(trace, model, one, word, samples=48, share=0.3, batch_size=8, baseline="blank")
        say(f"{name:32s} {found:.4f}")


if __name__ == "__main__":
    main()
