"""Measures remedies on held-out scenes of the bundled model, and writes the table of docs/remedies.md.

    python docs/scripts/remedies.py tune NAME [--trials 30] [--scenes 150]   one method's parameters, on the tune split
    python docs/scripts/remedies.py measure [NAME ...] [--scenes 334]        334 scenes of each of three splits
    python docs/scripts/remedies.py table                                    differences, intervals, McNemar

`tune` writes docs/data/remedies/NAME.json (`load_remedies` reads it) and all trials; `measure` measures what lies
there, a stack like a single method, and "plain", the untouched model; it writes NAME.outcome.json.
"""

import argparse
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import lvlmscope as lv
from lvlmscope.evaluation.benefit import Outcome, differences, mcnemar, measure
from lvlmscope.evaluation.chair import ChairScores
from lvlmscope.evaluation.pope import PopeScores

DATA = Path(__file__).parents[1] / "data/remedies"
SPLITS = ("neutral", "prior", "hard")


def say(*parts: object) -> None:
    """One line on the terminal."""
    sys.stdout.write(" ".join(map(str, parts)) + "\n")


def tune(name: str, trials: int, scenes: int) -> None:
    """Tunes one method and writes its best setting and all trials."""
    found = lv.tune(
        lv.load("tiny"), name, list(lv.tiny.scenes("tune", n=scenes)), trials=trials, progress=lambda t: say(t.scores)
    )
    told = [{"parameters": t.remedy.describe()["parameters"], "edited": t.edited} | t.scores for t in found.trials]
    text = json.dumps({"scenes": scenes, "plain": found.plain, "trials": told}, indent=1)
    (DATA / f"{name}.trials.json").write_text(text + "\n")
    lv.save_remedies(DATA / f"{name}.json", found.best.remedy)
    say(found.best)


def run(name: str, scenes: int) -> None:
    """Measures one stack and writes its counts."""
    held = [scene for split in SPLITS for scene in lv.tiny.scenes(split, n=scenes)]
    stack = () if name == "plain" else lv.load_remedies(DATA / f"{name}.json")
    outcome = measure(lv.load("tiny"), held, *stack)
    parts = {key: getattr(outcome, key) for key in ("captions", "probes")}
    counts = {key: {k: v.astype(int).tolist() for k, v in asdict(part).items()} for key, part in parts.items()}
    written = {"scenes": scenes, "summary": outcome.summary(), "reports": outcome.reports} | counts
    (DATA / f"{name}.outcome.json").write_text(json.dumps(written) + "\n")
    say(name, outcome.summary())


def read(name: str) -> Outcome:
    """A measured outcome."""
    found: dict[str, Any] = json.loads((DATA / f"{name}.outcome.json").read_text())
    captions = {key: np.array(value) for key, value in found["captions"].items()}
    probes = {key: np.array(value, dtype=bool) for key, value in found["probes"].items()}
    return Outcome(captions=ChairScores(**captions), probes=PopeScores(**probes), reports=tuple(found["reports"]))


def table() -> None:
    """Prints the table as Markdown and writes its numbers."""
    plain = read("plain")
    names = sorted(path.name.removesuffix(".outcome.json") for path in DATA.glob("*.outcome.json"))
    numbers: dict[str, Any] = {"plain": plain.summary()}
    say("| | CHAIR_I | change | CHAIR_S | recall | change | words | yes/no accuracy | F1 | right / wrong, p |")
    say("|---|---|---|---|---|---|---|---|---|---|")
    for name in ["plain", *(each for each in names if each != "plain")]:
        outcome = read(name)
        s, gaps = outcome.summary(), differences(plain, outcome)
        right, wrong, p = mcnemar(plain.probes, outcome.probes)
        numbers[name] = s | {"difference": {key: asdict(gap) for key, gap in gaps.items()}}
        numbers[name]["mcnemar"] = {"made right": right, "made wrong": wrong, "p": p}
        told = [
            "" if name == "plain" else f"{g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}]"
            for g in (gaps["chair_i"], gaps["recall"])
        ]
        tested = "" if name == "plain" else f"{right} / {wrong}, {p:.2g}"
        say(
            f"| {name} | {s['chair_i']:.3f} | {told[0]} | {s['chair_s']:.3f} | {s['recall']:.3f} | {told[1]} | "
            f"{s['mean_words']:.1f} | {s['accuracy']:.3f} | {s['f1']:.3f} | {tested} |"
        )
    (DATA.parent / "remedies.json").write_text(json.dumps(numbers, indent=1) + "\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "measure", "table"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--scenes", type=int, default=None)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    DATA.mkdir(exist_ok=True)
    for name in asked.names:
        if asked.what == "tune":
            tune(name, asked.trials, asked.scenes or 150)
        elif asked.what == "measure":
            run(name, asked.scenes or 334)
    if asked.what == "table":
        table()


if __name__ == "__main__":
    main()
