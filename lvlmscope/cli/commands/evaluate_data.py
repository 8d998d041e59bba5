"""What `lvlmscope eval` and `lvlmscope compare` do."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lvlmscope.cli.console import console, print_json, print_scores
from lvlmscope.cli.intervention_syntax import expand_grid, parse_intervention, parse_stack
from lvlmscope.cli.progress import stages
from lvlmscope.cli.tables import print_markdown
from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation import (
    Dataset,
    Evaluation,
    bundled_dataset,
    chair_synonyms,
    coco_vocabulary,
    compare_runs,
    disturbed,
    evaluate,
    markdown,
    read_answers,
    read_dataset,
    report_card,
    save_run,
    score_answers,
    setting_differences,
)
from lvlmscope.evaluation.datasets import BUNDLED, METRICS
from lvlmscope.evaluation.run_folder import as_json
from lvlmscope.plot import ablation
from lvlmscope.registry import close_match
from lvlmscope.runtime.attachment import intervene
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.verification.loading import load

__all__ = ["run_comparison", "run_evaluation"]

FIGURE: Final = "ablation.png"
_READING: Final = (
    "data",
    "images",
    "reference_captions",
    "words",
    "unannotated",
    "negatives",
    "per_image",
    "queries",
    "subtask",
)
_RUNNING: Final = ("model", "perturb", "placebo", "prompt", "batch_size", "max_new_tokens", "intervention", "grid")
_SCORING: Final = ("captions", "parser", "resamples", "out")
_CARD: Final = ("n", "model", "max_new_tokens", "intervention")


def run_evaluation(given: Mapping[str, Any]) -> None:
    """Reads the data, runs the model or scores the answers, and prints the tables.

    Args:
        given: The command's options by name.

    Raises:
        EvaluationError: An option that does not belong to what is evaluated.
    """
    what = given["what"]
    if what not in (*METRICS, *BUNDLED):
        close = close_match(what, (*METRICS, *BUNDLED))
        if close and what != "tiny" and not Path(what).is_dir():
            expected = f"{', '.join((*METRICS, *BUNDLED))}, tiny, or a folder of a model"
            raise EvaluationError(message(repr(what), expected, f"did you mean {close!r}", task="evaluate"))
        named = given["model"] if what == "tiny" and given["model"] is not None else what
        if given["model"] not in (None, named):
            got = f"{what!r} and --model {given['model']!r}"
            fix = "name the model with --model alone"
            raise EvaluationError(message(got, "one model, or a data set", fix, task="evaluate"))
        _refuse(given, [n for n in (*_READING, *_RUNNING, *_SCORING) if n not in _CARD], f"the report card of {named}")
        _print_card(given, named)
        return
    data = _dataset(given)
    if given["captions"]:
        _refuse(given, _RUNNING, "answers from files")
        answers = {path.stem: read_answers(path, data) for path in given["captions"]}
        if len(answers) < len(given["captions"]):
            raise EvaluationError(
                message("two files of one name", "names that differ", "rename one", task="score answers")
            )
        result = score_answers(data, answers, **_options(given, "resamples", "parser", "seed", "out"))
    else:
        result = _answered(data, given)
    _print(result, given["out"], as_json_text=given["as_json"])


def _answered(data: Dataset, given: Mapping[str, Any]) -> Evaluation:
    """The model's answers, scored; of a grid with a folder also the figure."""
    settings = [*(given["intervention"] or ()), *(one for grid in given["grid"] or () for one in expand_grid(grid))]
    if len(set(settings)) < len(settings):
        raise EvaluationError(message("a setting twice", "every setting once", "leave one out", task="evaluate"))
    stacks = {text: parse_stack(text) for text in settings}
    if len({repr(stack) for stack in stacks.values()}) < len(stacks):
        got, fix = "two ways to write one setting", "leave one out"
        raise EvaluationError(message(got, "every setting once", fix, task="evaluate"))
    if given["perturb"] is not None:
        data = disturbed(data, **_disturbances(given["perturb"]), seed=given["seed"])
    data.items[0].open()  # no images at all: found before a model is loaded
    with stages(shown=not given["as_json"]):
        model = load(given["model"] or "tiny", dtype=given["dtype"], device_map=given["device_map"])
    names = ("placebo", "prompt", "batch_size", "max_new_tokens", "resamples", "parser", "seed", "out")
    result = evaluate(model, data, stacks, **_options(given, *names))
    if given["out"] is None:
        return result
    (given["out"] / FIGURE).unlink(missing_ok=True)  # of another run
    if given["grid"]:
        with whole_file(given["out"] / FIGURE) as file:
            ablation(setting_differences(result)).savefig(file, format="png")
    return result


def _options(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if given[name] is not None}


def _disturbances(text: str) -> dict[str, float]:
    """`noise=0.1,blur=2` as options of `disturbed`."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in ("noise", "blur") or name in found or math.isnan(number):
            got = f"--perturb {text!r}"[:80]
            raise EvaluationError(
                message(got, "noise=NUMBER, blur=NUMBER or both with a comma", "correct it", task="disturb images")
            )
        found[name] = number
    return found


def _refuse(given: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Refuses options that were given and would have no effect."""
    if wrong := [name for name in names if given[name] not in (None, False, [])]:
        options = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in wrong)
        raise EvaluationError(
            message(f"{options} for {what}", "options that belong to it", "leave it out", task="evaluate")
        )


def _dataset(given: Mapping[str, Any]) -> Dataset:
    what, n, seed = given["what"], given["n"], given["seed"]
    if what in BUNDLED:
        _refuse(given, _READING, what)
        return bundled_dataset(what, seed=seed, **({} if n is None else {"n": n}))
    if given["data"] is None:
        raise EvaluationError(
            message(f"{what} without DATA", "a file or folder", "name it after the metric", task="evaluate")
        )
    options = _options(given, "reference_captions", "unannotated", "negatives", "per_image", "queries")
    if given["words"] is not None:
        options["vocabulary"] = coco_vocabulary() if given["words"] == "coco" else chair_synonyms(given["words"])
    if given["subtask"]:
        options["subtasks"] = tuple(given["subtask"])
    if str(given["data"]) in BUNDLED and not given["data"].exists():
        fix = f"run lvlmscope eval {given['data']}"
        raise EvaluationError(message(f"{what} {given['data']}", "a file or folder", fix, task="evaluate"))
    data = read_dataset(what, given["data"], given["images"], seed=seed, **options)
    return data if n is None else data.sample(n, seed)


def _print_card(given: Mapping[str, Any], model: str) -> None:
    """A model's report card on the bundled world: CHAIR of captions, POPE of probes, on the images and a grey one."""
    with stages(shown=not given["as_json"]) as stage:
        loaded = load(model, dtype=given["dtype"], device_map=given["device_map"])
        stage.begin("answering")
        with intervene(loaded, *map(parse_intervention, given["intervention"] or ())) as handle:
            card = report_card(loaded.model, loaded.processor, **_options(given, "n", "seed", "max_new_tokens"))
    edits = handle.report()
    if given["as_json"]:
        print_json(card.to_json() | {"interventions": edits})
        return
    for report in edits:
        console.print(f"{report['name']}: {report}", soft_wrap=True)
    print_scores(f"captions, greedy, at most {card.max_new_tokens} new tokens", card.captions)
    print_scores("yes/no probes, by split / kind of negative", card.probes)
    print_scores("the same questions on a grey image", card.blank)


def run_comparison(runs: list[Path], out: Path | None, *, seed: int, as_json_text: bool) -> None:
    """Prints several runs on the same items as one table.

    Args:
        runs: Folders that `lvlmscope eval --out` wrote.
        out: Folder for the table, None for none.
        seed: Of the bootstrap.
        as_json_text: One JSON object instead of tables.
    """
    with stages(shown=not as_json_text) as stage:
        stage.begin("comparing")
        result = compare_runs(runs, seed=seed)
    if out is not None:
        save_run(result, out)
    _print(result, out, as_json_text=as_json_text)


def _print(result: Evaluation, out: Path | None, *, as_json_text: bool) -> None:
    if as_json_text:
        print_json(as_json(result))
        return
    print_markdown(console, markdown(result))
    if out is not None:
        console.print(f"written to {out}", soft_wrap=True, markup=False)
