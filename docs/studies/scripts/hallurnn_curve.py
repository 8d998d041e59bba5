"""Draws the shipped cell's training: python docs/studies/scripts/hallurnn_curve.py [TRAINING.json]."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parents[1]


def main() -> None:
    """Reads what `lvlmscope train hallurnn` wrote: losses on the left, mean gates of the layers on the right."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "data/hallurnn_training.json"
    history = json.loads(source.read_text())["history"]
    train, held = ([p for p in history if key in p] for key in ("loss", "eval_loss"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    left.plot([p["step"] for p in train], [p["loss"] for p in train], color="#9fb8ba", label="training")
    left.plot([p["step"] for p in held], [p["eval_loss"] for p in held], "o-", color="#0b6e75", label="validation")
    left.set(xlabel="step", ylabel="weighted cross-entropy (nats)")
    left.legend(frameon=False)
    for name, colour in zip(train[0]["gates"], ("#b5651d", "#0b6e75", "#555555"), strict=False):
        for layer in train[0]["gates"][name]:
            values = [p["gates"][name][layer] for p in train]
            number = int(layer)
            label = f"{name} gate, a line for each layer" if number == 0 else None
            right.plot([p["step"] for p in train], values, color=colour, alpha=0.3 + 0.08 * number, label=label)
    right.set(xlabel="step", ylabel="mean gate", ylim=(0, 1.02))
    right.legend(frameon=False)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(HERE.parent / "images/hallurnn_curve.png", dpi=130)


if __name__ == "__main__":
    main()
