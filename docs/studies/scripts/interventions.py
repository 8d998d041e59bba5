"""Measures interventions on held-out scenes of the bundled model; writes the table of docs/studies/interventions.md.

python docs/studies/scripts/interventions.py COMMAND:

    tune NAME [--trials 30] [--scenes 150]    one method's parameters, on the tune split
    widen NAME [--trials 30] [--scenes 300]   the same in a wider space: NAME.wide.json
    measure [NAME ...] [--scenes 334]         334 scenes of each of three splits
    table                                     differences, intervals, McNemar

`tune` writes docs/studies/data/interventions/NAME.json (`load_interventions` reads it) and all trials; `measure`
measures what lies there, a stack like a single method, and "plain", the untouched model; it writes NAME.outcome.json.
"""

import argparse
import json
import sys
import warnings
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lvlmscope as lv
from lvlmscope.evaluation.intervention_trials import Difference, Outcome, differences, mcnemar, measure
from lvlmscope.evaluation.metrics.chair import ChairScores
from lvlmscope.evaluation.metrics.pope import PopeScores
from lvlmscope.interventions.registry import intervention_class

DATA = Path(__file__).parents[1] / "data/interventions"
SPLITS = ("neutral", "prior", "hard")
BANDS = [(0.0, 0.2), (0.0, 0.35), (0.0, 0.5), (0.1, 0.35), (0.1, 0.5), (0.1, 0.8), (0.25, 0.5), (0.4, 0.75), (0.0, 1.0)]
WIDE: dict[str, dict[str, Any]] = {
    "CLVA": {"alpha": (0.0, 4.0), "beta": (0.0, 2.0), "update": ["redistribute", "add"], "heads": ["all", "sensitive"]}
    | {"fraction": [0.125, 0.25, 0.5], "initial": [(0.0, 0.09), (0.0, 0.2)]}
    | {
        "middle": [(0.375, 0.59), (0.2, 0.45), (0.5, 0.75)],
        "deep": [(0.45, 1.0), (0.59, 1.0), (0.69, 1.0), (0.85, 1.0)],
    },
    "CLVA-near": {"alpha": (0.3, 2.2), "beta": (0.0, 2.0), "update": ["add"], "heads": ["sensitive"], "fraction": [0.5]}
    | {"middle": [(0.2, 0.45)], "deep": [(0.45, 1.0)], "initial": [(0.0, 0.09), (0.0, 0.2)]},
    "CLVA-logit": {"alpha": (5.0, 150.0), "beta": (0.0, 60.0), "update": ["logit"], "heads": ["all", "sensitive"]}
    | {"deep": [(0.59, 1.0), (0.69, 1.0)]},
    "DLEAF-near": {"gamma": (0.5, 1.0), "layers": [(0.4, 0.75)], "threshold": ["mean", "max"], "heads": [1, 2, 3]},
    "DLEAF": {"gamma": (0.02, 1.0), "threshold": ["min", "max", "mean"], "layers": BANDS}
    | {"heads": ["below_mean", "all", 1, 2, 3, 4]},
    "SGRS": {"alpha": (0.1, 0.8), "k": (2, 4), "R": (1, 3), "W": (1, 10), "J": ["answer", "after_image"]}
    | {"layers": [(0.0, 0.1), (0.1, 0.2), (0.19, 0.3), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0)]},
}


def say(*parts: object) -> None:
    """One line on the terminal."""
    sys.stdout.write(" ".join(map(str, parts)) + "\n")


def tune(name: str, trials: int, scenes: int) -> None:
    """Tunes one method and writes its best setting and all trials."""
    found = lv.tune(
        lv.load("tiny"), name, list(lv.tiny.scenes("tune", n=scenes)), trials=trials, progress=lambda t: say(t.scores)
    )
    told = [
        {"parameters": t.intervention.describe()["parameters"], "edited": t.edited} | t.scores for t in found.trials
    ]
    text = json.dumps({"scenes": scenes, "plain": found.plain, "trials": told}, indent=1)
    (DATA / f"{name}.trials.json").write_text(text + "\n")
    lv.save_interventions(DATA / f"{name}.json", found.best.intervention)
    say(found.best)


def widen(name: str, trials: int, scenes: int) -> None:
    """Tunes one method in a wider space, on more scenes, with half the recall to lose."""
    kind, held = name.partition("-")[0], list(lv.tiny.scenes("tune", n=scenes))
    told: list[dict[str, Any]] = []

    def keep(trial: Any) -> None:
        told.append({"parameters": trial.intervention.describe()["parameters"], "edited": trial.edited} | trial.scores)
        say(told[-1])

    model = lv.load("tiny")
    found = lv.tune(
        model, kind, held, space=WIDE[name], trials=trials, max_loss={"recall": 0.01}, seed=1, progress=keep
    )
    text = json.dumps({"scenes": scenes, "plain": found.plain, "trials": told})
    (DATA / f"{name}.wide.trials.json").write_text(text + "\n")
    choose(kind)


def choose(kind: str) -> None:
    """The best of all a method's widened searches that loses at most one point of recall: NAME-wide.json."""
    searches = [json.loads(path.read_text()) for path in sorted(DATA.glob(f"{kind}*.wide.trials.json"))]
    kept = [t for s in searches for t in s["trials"] if s["plain"]["recall"] - t["recall"] <= 0.01]
    if not kept:
        say(f"{kind}: no trial keeps the recall")
        return
    best = min(kept, key=lambda t: t["chair_i"])
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in best["parameters"].items()}
    intervention = intervention_class(kind)(**values)
    lv.save_interventions(DATA / f"{kind}-wide.json", intervention)
    say(
        f"plain {searches[0]['plain']['chair_i']:.4f}, {searches[0]['plain']['recall']:.4f}; best of {len(kept)}:", best
    )


def run(name: str, scenes: int) -> None:
    """Measures one stack and writes its counts."""
    held = [scene for split in SPLITS for scene in lv.tiny.scenes(split, n=scenes)]
    stack = () if name == "plain" else lv.load_interventions(DATA / f"{name}.json")
    torch.manual_seed(0)  # of SGRS's sampled proposals
    outcome = measure(lv.load("tiny"), held, *stack)
    parts = {key: getattr(outcome, key) for key in ("captions", "probes")}
    counts = {key: {k: v.astype(int).tolist() for k, v in arrays(part).items()} for key, part in parts.items()}
    written = {"scenes": scenes, "summary": outcome.summary(), "reports": outcome.reports} | counts
    (DATA / f"{name}.outcome.json").write_text(json.dumps(written) + "\n")
    say(name, outcome.summary())


def read(name: str) -> Outcome:
    """A measured outcome."""
    found: dict[str, Any] = json.loads((DATA / f"{name}.outcome.json").read_text())
    captions = {key: np.array(value) for key, value in found["captions"].items()}
    probes = {key: np.array(value, dtype=bool) for key, value in found["probes"].items()}
    return Outcome(captions=ChairScores(**captions), probes=PopeScores(**probes), reports=tuple(found["reports"]))


def arrays(scores: ChairScores | PopeScores) -> dict[str, np.ndarray]:
    """What is counted for each caption or question."""
    values = {each.name: getattr(scores, each.name) for each in fields(scores)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def part(outcome: Outcome, place: int) -> Outcome:
    """One split of an outcome; each has as many scenes."""
    size = len(outcome.captions.named) // len(SPLITS)
    cut = slice(place * size, (place + 1) * size)
    captions = {name: values[cut] for name, values in arrays(outcome.captions).items()}
    probes = {name: values[cut] for name, values in arrays(outcome.probes).items()}
    return Outcome(captions=ChairScores(**captions), probes=PopeScores(**probes))


def interval(gap: Difference) -> str:
    """A difference and its interval."""
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"


def table() -> None:
    """Prints the table as Markdown and writes its numbers."""
    plain = read("plain")
    names = sorted(path.name.removesuffix(".outcome.json") for path in DATA.glob("*.outcome.json"))
    numbers: dict[str, Any] = {"plain": plain.summary()}
    say(
        "| | CHAIR_I | change | CHAIR_S | change | recall | change | words | yes/no accuracy | F1 | yes rate | "
        "right / wrong, p |"
    )
    say("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name in ["plain", *(each for each in names if each != "plain")]:
        outcome = read(name)
        s, gaps = outcome.summary(), differences(plain, outcome)
        right, wrong, p = mcnemar(plain.probes, outcome.probes)
        numbers[name] = s | {"difference": {key: asdict(gap) for key, gap in gaps.items()}}
        numbers[name]["mcnemar"] = {"made right": right, "made wrong": wrong, "p": p}
        told = ["" if name == "plain" else interval(gaps[key]) for key in ("chair_i", "chair_s", "recall")]
        tested = "" if name == "plain" else f"{right} / {wrong}, {p:.2g}"
        say(
            f"| {name} | {s['chair_i']:.3f} | {told[0]} | {s['chair_s']:.3f} | {told[1]} | {s['recall']:.3f} | "
            f"{told[2]} | {s['mean_words']:.1f} | {s['accuracy']:.3f} | {s['f1']:.3f} | "
            f"{s['yes_rate']:.3f} | {tested} |"
        )
    say("\n| CHAIR_I, recall: change | " + " | ".join(SPLITS) + " |\n|---|---|---|---|")
    for name in (each for each in names if each != "plain"):
        gaps_of = [differences(part(plain, place), part(read(name), place)) for place in range(len(SPLITS))]
        numbers[name]["splits"] = {
            s: {k: asdict(g) for k, g in d.items()} for s, d in zip(SPLITS, gaps_of, strict=True)
        }
        cells = [f"{interval(d['chair_i'])}, {d['recall'].value:+.3f}" for d in gaps_of]
        say(f"| {name} | {' | '.join(cells)} |")
    (DATA.parent / "interventions.json").write_text(json.dumps(numbers, indent=1) + "\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "widen", "measure", "table"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--scenes", type=int, default=None)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    DATA.mkdir(exist_ok=True)
    for name in asked.names:
        if asked.what == "tune":
            tune(name, asked.trials, asked.scenes or 150)
        elif asked.what == "widen":
            widen(name, asked.trials, asked.scenes or 300)
        elif asked.what == "measure":
            run(name, asked.scenes or 334)
    if asked.what == "table":
        table()


if __name__ == "__main__":
    main()
