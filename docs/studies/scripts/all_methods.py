"""One table of every method: each tuned by the same budget, measured on held-out scenes with both controls.

python docs/studies/scripts/all_methods.py COMMAND [NAME ...]      every method when no name is given

    tune [--trials 12] [--scenes 100]     parameters, on the tune split: NAME.trials.json
    measure [--scenes 100]                100 scenes of each of three splits, captions and questions: NAME.json
    latency [--scenes 20]                 processor time a token beside plain, one thread, batch 1: latency.json
    table                                 prints the tables

Files lie in docs/studies/data/methods; a method whose file is there is not run again. Heads of AD-HH and directions of
Steering are found on 100 other scenes of the tune split, before their parameters are tuned.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch

import lvlmscope as lv
from lvlmscope.evaluation.comparison import Comparison, Evaluation
from lvlmscope.evaluation.datasets.bundled import bundled_dataset
from lvlmscope.evaluation.metrics.vocabulary import vocabulary as bundled_vocabulary
from lvlmscope.evaluation.paired_differences import Difference
from lvlmscope.evaluation.word_labels import label_words
from lvlmscope.inputs.preparation import prepare

DATA: Final = Path(__file__).parents[1] / "data/methods"
METHODS: Final = tuple(name for name in lv.list_interventions() if name != "Placebo")
PROBED: Final = slice(200, 300)  # scenes of the tune split with whose traces heads and directions are found
CAPTIONS: Final = ("chair_i", "chair_s", "recall", "mean_words")
COLUMNS: Final = (
    *("CHAIR_I", "- plain", "- plain, cut to its mentions", "- its placebo", "recall - plain", "words"),
    *("yes/no accuracy", "yes rate", "right / wrong, p", "x plain a token"),
)
QUESTIONS: Final = ("accuracy", "yes_rate")


def say(*parts: object) -> None:
    """One line on the terminal."""
    sys.stdout.write(" ".join(map(str, parts)) + "\n")
    sys.stdout.flush()


@cache
def model() -> Any:
    """The bundled model."""
    return lv.load("tiny")


@cache
def word_steps() -> tuple[list[Any], list[list[int]], list[list[int]]]:
    """Traces of the probed scenes, and the steps of their hallucinated and grounded words."""
    vocabulary, traces = bundled_vocabulary(), []
    steps: dict[str, list[list[int]]] = {"hallucinated": [], "grounded": []}
    for scene in list(lv.tiny.scenes("tune", n=PROBED.stop))[PROBED]:
        traced = lv.trace(
            model(),
            scene.image,
            "Describe the image.",
            max_new_tokens=48,
            keep="all",
            hidden_states=True,
            progress=False,
        )
        words = label_words(traced, scene.present, vocabulary)
        traces.append(traced)
        for label, found in steps.items():
            found.append([word.steps[0] for word in words if word.label == label])
    return traces, steps["hallucinated"], steps["grounded"]


def fixed(name: str) -> dict[str, Any]:
    """What a method needs before it can be tuned."""
    if name == "ADHH":
        traces, hallucinated, grounded = word_steps()
        found = lv.ADHH.from_traces(traces, hallucinated=hallucinated, grounded=grounded, count=6)
        return {"heads": found.heads}
    if name == "Steering":
        path = DATA / "directions.safetensors"
        if not path.exists():
            traces, hallucinated, grounded = word_steps()
            lv.Directions.between(model(), traces, hallucinated=hallucinated, grounded=grounded).save(path)
        return {"directions": str(path.relative_to(Path.cwd()))}
    return {}


def tune(name: str, trials: int, scenes: int) -> None:
    """Tunes one method: the lowest CHAIR_I whose recall is at most two points lower."""
    held = list(lv.tiny.scenes("tune", n=scenes))
    needed = fixed(name)
    found = lv.tune(model(), name, held, trials=trials, fixed=needed, progress=lambda one: say(name, one.scores))
    tried = [{"parameters": one.intervention.describe()["parameters"]} | one.scores for one in found.trials]
    best = found.best.intervention if found.feasible else None
    written = {"scenes": scenes, "plain": found.plain, "trials": tried}
    written["chosen"] = best.describe()["parameters"] if best is not None else None
    (DATA / f"{name}.trials.json").write_text(json.dumps(written, indent=1) + "\n")
    say(name, "chosen:", written["chosen"])


def setting(name: str) -> Any:
    """The tuned setting, or the defaults where no trial kept the recall."""
    chosen = json.loads((DATA / f"{name}.trials.json").read_text())["chosen"]
    given = fixed(name) if chosen is None else {k: tuple(v) if isinstance(v, list) else v for k, v in chosen.items()}
    return getattr(lv, name)(**given)


def difference(gap: Difference) -> list[float]:
    """Value and interval."""
    return [round(gap.value, 4), round(gap.low, 4), round(gap.high, 4)]


def compared(found: Comparison, names: Sequence[str]) -> dict[str, Any]:
    """What is kept of a comparison."""
    kept: dict[str, Any] = {name: difference(found.differences[name]) for name in names if name in found.differences}
    return kept | ({} if found.p is None else {"right": found.made_right, "wrong": found.made_wrong, "p": found.p})


def kept(found: Evaluation, names: Sequence[str], label: str) -> dict[str, Any]:
    """Rows' scores, and the differences of one of them."""
    rows = {row.role: {name: found.scores[row.label][name] for name in names} for row in found.rows}
    roles = {row.label: row.role for row in found.rows}
    gaps = {roles[one.against]: compared(one, names) for one in found.comparisons if one.row == label}
    return {"rows": rows, "minus": gaps}


def measure(name: str, scenes: int) -> None:
    """Captions and questions on held-out scenes, beside the plain model, its cut captions, and a placebo."""
    stack = {name: setting(name)}
    written: dict[str, Any] = {"setting": stack[name].describe()["parameters"], "scenes": 3 * scenes}
    for data, names in (("tiny-chair", CAPTIONS), ("tiny-pope", QUESTIONS)):
        torch.manual_seed(0)
        given = bundled_dataset(data, n=scenes)  # type: ignore[arg-type]
        found = lv.evaluate(model(), given, stack, placebo=data == "tiny-chair", batch_size=50)
        written[data] = kept(found, names, name)
    (DATA / f"{name}.json").write_text(json.dumps(written, indent=1) + "\n")
    say(name, written["tiny-chair"]["minus"])


def seconds(scenes: Sequence[Any], stack: Sequence[Any]) -> tuple[float, int]:
    """Processor seconds and new tokens of `generate`, an image at a time."""
    spent, tokens = 0.0, 0
    with lv.intervene(model(), *stack):
        for scene in scenes:
            inputs = prepare(scene.image, "Describe the image.", model().processor, model().family).inputs
            began = time.process_time()
            answer = model().model.generate(**inputs, max_new_tokens=48, do_sample=False)
            spent += time.process_time() - began
            tokens += answer.shape[1] - inputs["input_ids"].shape[1]
    return spent, tokens


def latency(names: Sequence[str], count: int) -> None:
    """Each method's processor time a token, over that of plain runs before and after it."""
    torch.set_num_threads(1)
    scenes = list(lv.tiny.scenes("neutral", n=count))
    seconds(scenes[:3], ())
    found: dict[str, float] = {}
    for name in names:
        runs = [seconds(scenes, stack) for stack in ((), (setting(name),), ())]
        each = [spent / tokens for spent, tokens in runs]
        found[name] = round(2 * each[1] / (each[0] + each[2]), 2)
        say(name, found[name])
    (DATA / "latency.json").write_text(json.dumps(found, indent=1) + "\n")


def interval(gap: Sequence[float]) -> str:
    """A difference and its interval."""
    return f"{gap[0]:+.3f} [{gap[1]:+.3f}, {gap[2]:+.3f}]"


def line(name: str, found: Mapping[str, Any], ratio: float) -> str:
    """A method's row."""
    chair, pope = found["tiny-chair"], found["tiny-pope"]
    own, gaps, asked = chair["rows"]["intervention"], chair["minus"], pope["minus"]["plain"]
    cells = [
        f"{own['chair_i']:.3f}",
        *(interval(gaps[role]["chair_i"]) for role in ("plain", "length_matched", "placebo")),
    ]
    cells += [interval(gaps["plain"]["recall"]), f"{own['mean_words']:.1f}"]
    rows = pope["rows"]["intervention"]
    cells += [
        f"{rows['accuracy']:.3f}",
        f"{rows['yes_rate']:.3f}",
        f"{asked['right']} / {asked['wrong']}, {asked['p']:.2g}",
    ]
    return f"| {name} | {' | '.join([*cells, f'{ratio:.2f}'])} |"


def table(names: Sequence[str]) -> None:
    """Prints the tables, the lowest CHAIR_I first."""
    every = {name: json.loads((DATA / f"{name}.json").read_text()) for name in names}
    ratios = json.loads((DATA / "latency.json").read_text())
    first = next(iter(every.values()))
    plain, asked = first["tiny-chair"]["rows"]["plain"], first["tiny-pope"]["rows"]["plain"]
    say(f"| | {' | '.join(COLUMNS)} |\n|" + "---|" * (1 + len(COLUMNS)))
    empty = " |" * 4
    say(f"| plain | {plain['chair_i']:.3f} |{empty} {plain['mean_words']:.1f} | {asked['accuracy']:.3f} | "
        f"{asked['yes_rate']:.3f} | | 1 |")  # fmt: skip
    for name in sorted(every, key=lambda one: every[one]["tiny-chair"]["rows"]["intervention"]["chair_i"]):
        say(line(name, every[name], ratios[name]))
    say(
        "\n| | setting | trials that kept the recall | CHAIR_I on the tune split | plain there |\n|---|---|---|---|---|"
    )
    for name, found in every.items():
        tried = json.loads((DATA / f"{name}.trials.json").read_text())
        fit = [t for t in tried["trials"] if tried["plain"]["recall"] - t["recall"] <= 0.02]
        shown = ", ".join(f"{key}={value}" for key, value in found["setting"].items() if key not in ("disturbance",))
        best = f"{min(t['chair_i'] for t in fit):.3f}" if fit else "none: defaults"
        say(f"| {name} | `{shown}` | {len(fit)} of {len(tried['trials'])} | {best} | {tried['plain']['chair_i']:.3f} |")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "measure", "latency", "table"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--scenes", type=int, default=None)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    DATA.mkdir(exist_ok=True)
    names = asked.names or METHODS
    for name in names:
        if asked.what == "tune" and not (DATA / f"{name}.trials.json").exists():
            tune(name, asked.trials, asked.scenes or 100)
        elif asked.what == "measure" and not (DATA / f"{name}.json").exists():
            measure(name, asked.scenes or 100)
    if asked.what == "latency":
        latency(names, asked.scenes or 20)
    elif asked.what == "table":
        table(names)


if __name__ == "__main__":
    main()
