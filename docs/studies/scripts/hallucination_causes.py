"""Object words of the bundled model by what their functional heads lack.

python docs/studies/scripts/hallucination_causes.py --images 25
"""

import argparse
import sys
from typing import Any

import lvlmscope as lv
from lvlmscope.errors import LvlmscopeError
from lvlmscope.evaluation import hallucination_causes, label_words, vocabulary
from lvlmscope.tiny import scenes

SPLITS = ("neutral", "prior", "hard")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=25, help="scenes of each split")
    given = parser.parse_args()
    model = lv.load("tiny")
    held = [scene for split in SPLITS for scene in scenes(split, n=given.images)]
    options: dict[str, Any] = {"max_new_tokens": 40, "do_sample": False, "progress": False}
    traces = [lv.trace(model, scene.image, "Describe the image.", **options) for scene in held]
    labels = [label_words(trace, scene.present, vocabulary()) for trace, scene in zip(traces, held, strict=True)]
    lines = ["| share of heads | words | perception | reasoning | both | neither |", "|---|---|---|---|---|---|"]
    for share in (0.15, 0.2, 0.25, 0.3):
        try:
            found = hallucination_causes(traces, labels, share=share)
        except LvlmscopeError as error:
            lines.append(f"| {share} | {error} | | | | |")
            continue
        for word in found["word"].values:
            own = found.sel(word=word)
            cells = [
                f"{100 * own['share'][n].item():.0f} % [{100 * own['low'][n].item():.0f}, "
                f"{100 * own['high'][n].item():.0f}]"
                for n in range(4)
            ]
            lines.append(f"| {share} | {int(own['count'].sum())} {word} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
