"""Checks how large the edits of docs/studies/interventions.md were, and which words they removed.

Reads docs/studies/data/interventions. python docs/studies/scripts/interventions_why.py COMMAND:

    counts                  share of heads edited, object words removed and added
    effects [--scenes 20]   `lv.effect` on that many scenes of each split
    sweep NAME ...          trials of NAME.trials.json, by size of edit
"""

import argparse
import json
import warnings
from typing import Any

import lvlmscope as lv
from interventions import DATA, SPLITS, read, say

METHODS = ("HeadRescaling", "LocoRE", "HalluRNN", "CLVA", "CLVA-wide", "DLEAF", "DLEAF-wide", "SGRS")
LAYERS, HEADS = 8, 8


def counts() -> None:
    """Shares of edited heads, and object words gone and come, grounded and hallucinated, against the plain model."""
    plain = read("plain").captions
    say("| | heads edited | tokens replaced | grounded words | hallucinated words | hallucinated among those removed |")
    say("|---|---|---|---|---|---|")
    for name in METHODS:
        outcome = read(name)
        report = outcome.reports[0]
        heads = report["edited_heads"] + report["scaled_heads"]
        shifted = len(report["shifted_layers"])
        edited = f"{heads / report['rows'] / LAYERS / HEADS:.1%}" if heads else "none"
        edited = f"the stream after {shifted} layers" if shifted else edited
        tokens = f"{report['changed_tokens']} of {report['tokens']}" if "changed_tokens" in report else ""
        grounded = int(
            (outcome.captions.named - outcome.captions.hallucinated).sum() - (plain.named - plain.hallucinated).sum()
        )
        false = int(outcome.captions.hallucinated.sum() - plain.hallucinated.sum())
        gone = f"{false / (grounded + false):.0%}" if grounded < 0 and false < 0 else ""
        say(f"| {name} | {edited} | {tokens} | {grounded:+d} | {false:+d} | {gone} |")
    named, hallucinated = int(plain.named.sum()), int(plain.hallucinated.sum())
    say(f"\nplain: {named - hallucinated} grounded words, {hallucinated} hallucinated")


def effects(scenes: int) -> None:
    """`lv.effect` of each method's setting: KL a step, attention moved, captions that changed."""
    model = lv.load("tiny")
    held = [scene for split in SPLITS for scene in lv.tiny.scenes(split, n=scenes)]
    options: dict[str, Any] = {"max_new_tokens": 48, "do_sample": False, "progress": False}
    before = [lv.trace(model, scene.image, "Describe the image.", **options) for scene in held]
    say("| | KL a step, nats, at least | largest | attention moved | image attention | captions changed |")
    say("|---|---|---|---|---|---|")
    for name in METHODS:
        stack = lv.load_interventions(DATA / f"{name}.json")
        pairs = zip(held, before, strict=True)
        found = [
            lv.effect(old, lv.trace(model, scene.image, "Describe the image.", interventions=stack, **options))
            for scene, old in pairs
        ]
        steps = [kl for each in found for kl in each.divergence]
        n = len(found)
        moved, was, now = (
            sum(getattr(e, key) for e in found) / n for key in ("moved_mass", "image_mass_before", "image_mass_after")
        )
        changed = sum(not each.same_answer for each in found)
        say(
            f"| {name} | {sum(steps) / len(steps):.4f} | {max(steps):.2f} | {moved:.1%} | {was:.3f} -> {now:.3f} | "
            f"{changed} of {n} |"
        )


def sweep(name: str) -> None:
    """All trials of a method, the smallest edit first, as differences from the plain model on the same scenes."""
    found = json.loads((DATA / f"{name}.trials.json").read_text())
    plain = found["plain"]
    say(f"{name}: {found['scenes']} scenes, plain CHAIR_I {plain['chair_i']:.3f}, recall {plain['recall']:.3f}")
    for trial in sorted(found["trials"], key=lambda t: t["edited"]):
        told = {k: round(v, 2) if isinstance(v, float) else v for k, v in trial["parameters"].items()}
        gaps = [trial[key] - plain[key] for key in ("chair_i", "recall")]
        say(f"{trial['edited']:7d}  {gaps[0]:+.3f}  {gaps[1]:+.3f}  {told}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["counts", "effects", "sweep"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--scenes", type=int, default=20)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.what == "counts":
        counts()
    elif asked.what == "effects":
        effects(asked.scenes)
    for name in asked.names:
        sweep(name)


if __name__ == "__main__":
    main()
