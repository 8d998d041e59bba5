"""Whatever public functions are given instead of an argument is refused by name, or by an error of the library."""

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import lvlmscope as lv
from lvlmscope import evaluation as ev
from lvlmscope.diagnostics import layer_correlation, layer_image_entropy, planted_trace, saliency
from lvlmscope.errors import EvaluationError, LvlmscopeError
from lvlmscope.evaluation.intervention_trials import measure
from lvlmscope.evaluation.word_table import read_words
from lvlmscope.tiny import scene, scenes
from tests.evaluation.test_hallucination_causes import EVEN, RULE
from tests.evaluation.test_hallucination_causes import labelled as labelled_by_heads
from tests.plot.test_ablations import timed
from tests.plot.test_binned_rates import binned
from tests.plot.test_setting_maps import evaluated as gridded
from tests.plot.test_setting_maps import mapped
from tests.support.coco_scenes import write_coco, write_mme
from tests.support.labelled_traces import WORDS, labels_of, made

# As users run it: the shape checker tells wrong arguments in its own words
pytestmark = [
    pytest.mark.usefixtures("unchecked_shapes"),
    pytest.mark.filterwarnings("ignore"),
]

ROOMS = ("attribution", "evaluation", "plot", "risk", "tiny")
WRONG: dict[str, Any] = {
    "whole number": 3,
    "number": 2.5,
    "bool": True,
    "None": None,
    "text": "x",
    "bytes": b"x",
    "list": [],
    "list of numbers": [1],
    "dict": {},
    "object": object(),
    "array": np.zeros((2, 2)),
    "function of nothing": lambda: 0,
    "function of one": lambda one: one,
}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for room in ROOMS:
        home = getattr(lv, room)
        for name in home.__all__:
            if inspect.isfunction(value := getattr(home, name)):
                yield f"{room}.{name}", value


FUNCTIONS = dict(functions())
PARAMETERS = [
    (name, each.name)
    for name, function in FUNCTIONS.items()
    for each in inspect.signature(function).parameters.values()
    if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
]


@cache
def model() -> Any:
    return lv.load("tiny")


@cache
def trace(intervened: bool = False) -> lv.Trace:
    chosen = [lv.LocoRE(beta=1.0)] if intervened else []
    shown = scene("prior", 0).image
    return lv.trace(
        model(), shown, "Describe the image.", answer="A handbag.", interventions=chosen, seed=0, progress=False
    )


@cache
def folder() -> Path:
    home = Path(tempfile.mkdtemp())
    write_mme(home / "mme")
    write_coco(home / "coco", n=2)
    (home / "words.txt").write_text("dog, puppy\n")
    rows = [{"id": 1, "image": "a.png", "text": "Is there a dog?", "label": "yes", "objects": ["dog"]}]
    (home / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n")
    written = {
        "annotations.json": [{"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["cat"]}],
        "query_all.json": [{"id": 1, "image": "a.png", "query": "Describe this image."}],
        "relation.json": {"dog": ["puppy"], "cat": []},
        "answers.json": [{"id": item.id, "caption": "A dog."} for item in dataset().items],
    }
    for name, told in written.items():
        (home / name).write_text(json.dumps(told))
    (home / "safe_words.txt").write_text("light\n")
    talk = {"id": 1, "image": "a.png", "turns": [{"question": "Is there a dog?", "label": "yes"}]}
    (home / "turns.jsonl").write_text(json.dumps(talk) + "\n")
    ev.save_run(run(), home / "run")
    return home


@cache
def dataset() -> ev.Dataset:
    return ev.bundled_dataset("tiny-chair", n=1)


@cache
def run(label: str = "another") -> ev.Evaluation:
    few = {"plain": [item.kind for item in dataset().items], label: ["A handbag and a cup."] * len(dataset())}
    return ev.score_answers(dataset(), few, resamples=100)


@cache
def outcome() -> ev.Outcome:
    return measure(model(), list(scenes("prior", n=2)), max_new_tokens=2)


@cache
def labelled() -> tuple[list[lv.Trace], Any]:
    traces = made(60)
    return traces, [tuple(word for word in words if word.text == "word1") for words in labels_of(traces)]


@cache
def planted() -> lv.Trace:
    return planted_trace(patch=7, salient="previous")


@cache
def image_map() -> Any:
    return lv.occlusion(trace(), model(), words=0, patches=(1, 1))[0]


@cache
def windows() -> Any:
    found = layer_image_entropy(planted()).rename(layer="window", step="word").drop_vars("token")
    return found.assign_coords(word=list("abcdefgh"[: found.sizes["word"]]))


@cache
def causes() -> tuple[list[lv.Trace], Any]:
    return labelled_by_heads(30)


@cache
def table() -> Any:
    return read_words(*labelled())


YES = {"answers": ["yes"], "truths": [True]}
RUNS = {"trace": trace, "model": model}
# What each function is rightly called with; values are made when they are needed
RIGHT: dict[str, dict[str, Any]] = {
    "attribution.infidelity": RUNS | {"saliency": image_map, "word": 0, "samples": 1},
    "attribution.integrated_gradients": RUNS | {"words": 0, "n_steps": 1},
    "attribution.max_sensitivity": RUNS | {"explain": lambda: lambda one: one.entropy.numpy(), "samples": 1},
    "attribution.occlusion": RUNS | {"words": 0, "patches": (1, 1)},
    "evaluation.aggregate": {"traces": lambda: [planted()], "signal": "layer_image_entropy", "resamples": 2},
    "evaluation.amber_answers": {"responses": ["yes"], "truths": [True]},
    "evaluation.amber_descriptions": {
        "responses": ["A dog."],
        "truths": [["dog"]],
        "expected": [["cat"]],
        "relations": {"dog": ["puppy"], "cat": []},
    },
    "evaluation.amber_files": {"folder": folder},
    "evaluation.amber_score": {
        "descriptions": lambda: ev.amber_descriptions(["A dog."], [["dog"]], [["cat"]], {"dog": [], "cat": []}),
        "answers": lambda: ev.amber_answers(["yes"], [True]),
    },
    "evaluation.bundled_dataset": {"name": "tiny-chair", "n": 1},
    "evaluation.chair": {"captions": ["A dog."], "truths": [["dog"]], "vocabulary": WORDS},
    "evaluation.chair_synonyms": {"path": lambda: folder() / "words.txt"},
    "evaluation.compare_runs": {"runs": lambda: [run(), run("third")], "resamples": 100},
    "evaluation.cut_to_mentions": {"plain": ["A word1."], "counts": [1], "words": WORDS},
    "evaluation.differences": {"before": outcome, "after": outcome, "resamples": 2},
    "evaluation.disturbed": {"dataset": dataset, "noise": 0.1},
    "evaluation.evaluate": {"model": model, "dataset": dataset, "max_new_tokens": 1, "resamples": 100},
    "evaluation.flagged_heads": {"trace": planted},
    "evaluation.functional_head_share": {"trace": lambda: causes()[0][0], "rule": RULE},
    "evaluation.hallucination_causes": {
        "traces": lambda: causes()[0],
        "labels": lambda: causes()[1],
        "rule": EVEN,
        "quantile": 0.25,
        "resamples": 2,
    },
    "evaluation.label_words": {"trace": planted, "present": ["dog"], "vocabulary": WORDS},
    "evaluation.load_run": {"folder": lambda: folder() / "run"},
    "evaluation.make_questions": {"dataset": dataset, "negatives": "random", "per_image": 1},
    "evaluation.markdown": {"result": run},
    "evaluation.mcnemar": {"before": lambda: ev.pope(*YES.values()), "after": lambda: ev.pope(*YES.values())},
    "evaluation.measure": {"model": model, "held": lambda: list(scenes("prior", n=1)), "max_new_tokens": 1},
    "evaluation.mme": {"answers": ["yes", "no"], "truths": [True, False], "images": ["a", "a"]},
    "evaluation.pope": YES,
    "evaluation.rate_by_bin": {
        "traces": lambda: labelled()[0],
        "signal": "log_prob",
        "labels": lambda: labelled()[1],
        "bins": 2,
        "resamples": 2,
    },
    "evaluation.read_amber": {"folder": folder},
    "evaluation.read_answers": {"path": lambda: folder() / "answers.json", "dataset": dataset},
    "evaluation.read_coco": {"instances": lambda: folder() / "coco" / "instances.json"},
    "evaluation.read_conversations": {"path": lambda: folder() / "turns.jsonl"},
    "evaluation.read_dataset": {"metric": "chair", "path": lambda: folder() / "coco" / "instances.json"},
    "evaluation.read_mme": {"folder": lambda: folder() / "mme"},
    "evaluation.read_questions": {"path": lambda: folder() / "rows.jsonl"},
    "evaluation.read_table": {"path": lambda: folder() / "rows.jsonl"},
    "evaluation.report_card": {
        "model": lambda: model().model,
        "processor": lambda: model().processor,
        "n": 1,
        "max_new_tokens": 1,
    },
    "evaluation.sample_sizes": {"run": run, "score": "mean_words"},
    "evaluation.save_run": {"result": run, "folder": lambda: folder() / "again"},
    "evaluation.score_answers": {
        "dataset": dataset,
        "answers": lambda: {"a": ["A dog."] * len(dataset())},
        "resamples": 100,
    },
    "evaluation.score_signals": {
        "traces": lambda: labelled()[0],
        "labels": lambda: labelled()[1],
        "signals": ["log_prob"],
        "resamples": 2,
    },
    "evaluation.setting_differences": {"result": run},
    "evaluation.setting_map": {"result": gridded, "score": "accuracy", "resamples": 100},
    "evaluation.tune": {
        "model": model,
        "intervention": "LocoRE",
        "examples": lambda: list(scenes("prior", n=2)),
        "trials": 1,
        "score": "recall",
        "max_loss": {},
        "max_new_tokens": 1,
    },
    "evaluation.verdict": {"answer": "yes"},
    "evaluation.vocabulary": {},
    "plot.ablation": {"found": lambda: timed(2)},
    "plot.attending_words": {"trace": planted, "patches": lambda: [(0, 0)]},
    "plot.compare": {"before": planted, "after": planted},
    "plot.correlation": {"signal": lambda: layer_correlation(planted())},
    "plot.distribution": {"trace": planted},
    "plot.find_word": {"trace": planted, "wanted": 0},
    "plot.heatmap": {"signal": planted},
    "plot.layers": {"signals": lambda: [layer_image_entropy(planted())]},
    "plot.overlay": {"trace": planted, "word": 0},
    "plot.rates": {"found": lambda: binned((0.2,), bins=2)},
    "plot.saliency_matrix": {"trace": planted, "signal": lambda: saliency(planted())},
    "plot.setting_map": {"found": mapped},
    "plot.timeline": {"trace": planted},
    "plot.windows": {"lost": windows},
    "plot.words_of": {"trace": planted},
    "risk.bundled_calibration": {},
    "risk.calibrate": {"model": model, "examples": lambda: list(scenes("prior", n=1)), "max_new_tokens": 1},
    "risk.calibration_of": {"table": table, "model": "planted", "num_layers": 3, "num_heads": 2, "words": WORDS},
    "risk.diagnose": {"trace": planted},
    "tiny.path": {"name": "model"},
    "tiny.scene": {"split": "prior", "index": 0},
    "tiny.scenes": {"split": "prior", "n": 1},
}
# A function is a processor like another: what it raises is its own
FUNCTIONS_TAKEN = {"processor"}
# Told as Python tells it: the file is not there
DOCUMENTED: dict[tuple[str, str], type[Exception]] = {("tiny.path", "name"): FileNotFoundError}


def right(function: str) -> dict[str, Any]:
    return {name: value() if callable(value) else value for name, value in RIGHT[function].items()}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is taken for a path may be written to."""
    monkeypatch.chdir(tmp_path)


def call(function: str, **changed: Any) -> None:
    given = right(function) | changed
    named = inspect.signature(FUNCTIONS[function]).parameters.values()
    placed = [given.pop(each.name) for each in named if each.kind is each.POSITIONAL_ONLY]
    if inspect.isgenerator(found := FUNCTIONS[function](*placed, **given)):
        next(found, None)
    plt.close("all")


def test_every_public_function_is_called() -> None:
    assert set(RIGHT) == set(FUNCTIONS)


@pytest.mark.slow
@pytest.mark.met
@pytest.mark.parametrize("function", sorted(set(RIGHT) - {"risk.calibrate"}))
def test_what_is_right_is_taken(function: str) -> None:
    call(function)


def test_a_calibration_lacks_nothing_but_words() -> None:
    with pytest.raises(EvaluationError, match="no object word"):  # enough of them would take minutes
        call("risk.calibrate")


@pytest.mark.slow
@pytest.mark.met
@pytest.mark.parametrize(("function", "parameter"), PARAMETERS, ids=lambda each: each)
def test_what_is_wrong_is_refused_by_name(function: str, parameter: str) -> None:
    unnamed = {}
    for kind, value in WRONG.items():
        if callable(value) and parameter in FUNCTIONS_TAKEN:
            continue
        try:
            call(function, **{parameter: value})
        except (LvlmscopeError, DOCUMENTED.get((function, parameter), LvlmscopeError)):
            pass
        except Exception as error:  # noqa: BLE001 - whichever it is
            if not (isinstance(error, TypeError | ValueError) and parameter in str(error)):
                unnamed[kind] = f"{type(error).__name__}: {error}"
    assert unnamed == {}
