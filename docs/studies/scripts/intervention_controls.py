"""The rows of docs/studies/interventions.md beside two controls: plain captions cut to as many mentions, and a placebo.

python docs/studies/scripts/intervention_controls.py measure [NAME ...] [--scenes 334]   NAME.controls.json each
python docs/studies/scripts/intervention_controls.py table                               prints them

NAME is a file of docs/studies/data/interventions without .json, a stack or a method; all of them when none is given.
The scenes are those of the other table, 334 of each of three splits. A name whose file is there is not measured again.
"""

import argparse
import json
import warnings

import torch
from all_methods import compared, interval, model, say

import lvlmscope as lv
from interventions import DATA
from lvlmscope.evaluation.datasets.bundled import bundled_dataset

SCORES = ("chair_i", "chair_s", "recall", "mean_words", "mentions")
ROLES = ("plain", "length_matched", "placebo")
SAMPLED = ("SGRS-literal",)  # proposals are drawn already: there is no placebo of it


def names() -> list[str]:
    """Settings that were measured."""
    return sorted(
        path.name.removesuffix(".outcome.json") for path in DATA.glob("*.outcome.json") if "plain" not in path.name
    )


def measure(name: str, scenes: int) -> None:
    """Measures one setting, with both controls, and writes what is kept of it."""
    stack = lv.load_interventions(DATA / f"{name}.json")
    torch.manual_seed(0)
    found = lv.evaluate(
        model(), bundled_dataset("tiny-chair", n=scenes), {name: stack}, placebo=name not in SAMPLED, batch_size=50
    )
    roles = {row.label: row.role for row in found.rows}
    gaps = {roles[one.against]: compared(one, SCORES) for one in found.comparisons if one.row == name}
    rows = {row.role: {score: found.scores[row.label][score] for score in SCORES} for row in found.rows}
    written = {"scenes": 3 * scenes, "rows": rows, "minus": gaps}
    (DATA / f"{name}.controls.json").write_text(json.dumps(written, indent=1) + "\n")
    say(name, gaps)


def table() -> None:
    """Prints the table as Markdown, the lowest CHAIR_I first."""
    found = {name: json.loads((DATA / f"{name}.controls.json").read_text()) for name in names()}
    say(
        "| | CHAIR_I | - plain | - plain, cut to its mentions | - its placebo "
        "| recall - cut | recall - placebo | mentions |"
    )
    say("|---|---|---|---|---|---|---|---|")
    for name in sorted(found, key=lambda one: found[one]["rows"]["intervention"]["chair_i"]):
        own, gaps = found[name]["rows"]["intervention"], found[name]["minus"]
        chair = [interval(gaps[role]["chair_i"]) if role in gaps else "" for role in ROLES]
        recall = [interval(gaps[role]["recall"]) if role in gaps else "" for role in ROLES[1:]]
        say(f"| {name} | {own['chair_i']:.3f} | {' | '.join([*chair, *recall])} | {own['mentions']:.2f} |")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "table"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--scenes", type=int, default=334)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.what == "table":
        table()
        return
    for name in asked.names or names():
        if not (DATA / f"{name}.controls.json").exists():
            measure(name, asked.scenes)


if __name__ == "__main__":
    main()
