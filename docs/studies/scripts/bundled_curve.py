"""Draws the bundled model's training curve: python docs/studies/scripts/bundled_curve.py [CURVE.json]."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parents[1]
TITLES = {
    "language": "1. language: the decoder,\non captions and written scenes",
    "align": "2. align: tower and projector,\npatches against words",
    "joint": "3. joint: everything,\nanswers + 0.2 x patches",
    "polish": "4. polish: as joint,\nwarmed up once more",
}


def main() -> None:
    """Reads the curve that the training script wrote, one panel for a stage."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "data/bundled_curve.json"
    curve = json.loads(source.read_text())["curve"]
    figure, axes = plt.subplots(1, len(TITLES), figsize=(12, 3.3), layout="constrained")
    for axis, (stage, title) in zip(axes, TITLES.items(), strict=True):
        points = [p for p in curve if p["stage"] == stage]
        axis.plot([p["step"] for p in points], [p["loss"] for p in points], color="#0b6e75")
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="step", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("training loss (nats)")
    figure.savefig(HERE.parent / "images/bundled_curve.png", dpi=130)


if __name__ == "__main__":
    main()
