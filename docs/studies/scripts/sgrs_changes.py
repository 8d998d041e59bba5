"""How probable the tokens were that SGRS rejected and those that it took instead, on the bundled model.

python docs/studies/scripts/sgrs_changes.py 30      # scenes of each split
"""

import statistics
import sys
from unittest import mock

import torch

import lvlmscope as lv
from lvlmscope.evaluation.bundled_benchmark import SPLITS, caption_scores
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS
from lvlmscope.interventions import SGRS, sgrs
from lvlmscope.interventions.sgrs_rule import Choice
from lvlmscope.tiny import scenes


def main() -> None:
    """Captions the scenes one at a time and prints medians over the tokens that were changed."""
    torch.set_num_threads(1)
    n, loaded = int(sys.argv[1]), lv.load("tiny")
    shown: list[list[float]] = []
    choices: list[Choice] = []
    order, choose = sgrs._proposal_order, sgrs.choose  # noqa: SLF001 - to look on

    def ordered(log_probs: torch.Tensor, proposal: str) -> torch.Tensor:
        shown.extend(log_probs.exp().tolist())
        return order(log_probs, proposal)

    def chosen(*args: object, **options: object) -> Choice:
        choices.append(choose(*args, **options))  # type: ignore[arg-type]
        return choices[-1]

    watching = mock.patch.multiple(sgrs, _proposal_order=ordered, choose=chosen)
    with watching, lv.intervene(loaded, SGRS()):
        for split in SPLITS:
            for scene in scenes(split, n=n, seed=0):
                caption_scores(loaded.model, loaded.processor, [scene], max_new_tokens=MAX_NEW_TOKENS)
    pairs = [(p[0], p[c.index]) for p, c in zip(shown, choices, strict=True) if c.changed]
    rejected, taken = zip(*pairs, strict=True)
    sys.stdout.write(f"{len(pairs)} of {len(choices)} tokens changed\n")
    sys.stdout.write(f"median probability of the rejected {statistics.median(rejected):.3f}\n")
    sys.stdout.write(f"median probability of the taken    {statistics.median(taken):.2g}\n")
    rare = sum(p < 0.01 for p in taken) / len(taken)
    sys.stdout.write(f"taken with a probability below 0.01: {rare:.0%}\n")


if __name__ == "__main__":
    main()
