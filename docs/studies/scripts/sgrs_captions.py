"""Captions of held-out scenes under SGRS, LocoRE and both, with their default parameters, beside the plain model.

    python docs/studies/scripts/sgrs_captions.py 100      # scenes of each split

Writes docs/studies/data/sgrs_captions.json. Greedy, at most 48 new tokens; parameters are not tuned.
"""

import json
import sys
from pathlib import Path

import torch

import lvlmscope as lv
from lvlmscope.evaluation.bundled_benchmark import SPLITS, caption_scores
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS
from lvlmscope.interventions import SGRS, LocoRE
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.tiny import scenes

STACKS: dict[str, tuple[Intervention, ...]] = {
    "plain": (),
    "LocoRE": (LocoRE(),),
    "SGRS": (SGRS(),),
    "LocoRE + SGRS": (LocoRE(), SGRS()),
}


def main() -> None:
    """Captions every split under every stack."""
    torch.set_num_threads(1)
    n, loaded = int(sys.argv[1]), lv.load("tiny")
    found = {}
    for name, stack in STACKS.items():
        with lv.intervene(loaded, *stack) as handle:
            scores = {
                split: caption_scores(
                    loaded.model,
                    loaded.processor,
                    list(scenes(split, n=n, seed=0)),
                    max_new_tokens=MAX_NEW_TOKENS,
                )
                for split in SPLITS
            }
        found[name] = {"captions": scores, "interventions": handle.report()}
        sys.stdout.write(f"{name}: {json.dumps(found[name])}\n")
        sys.stdout.flush()
    target = Path(__file__).parents[1] / "data" / "sgrs_captions.json"
    target.write_text(json.dumps({"scenes": n, "stacks": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
