"""Wiring of the command line: each flag is changed once, and what the library is called with moves."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer

import lvlmscope as lv
from lvlmscope.cli.app import app
from lvlmscope.diagnostics import planted_trace
from lvlmscope.interventions.depth_cell import DepthCell
from tests.support.command_line import run
from tests.support.small_training import write

OF_A_MODEL = {"--model": ("a", "b"), "--dtype": ("float32", "bfloat16"), "--device-map": (None, "auto")}
# Two values of each flag; None leaves it out, and True is a flag without a value
FLAGS: dict[str, dict[str, tuple[Any, Any]]] = {
    "trace": OF_A_MODEL
    | {
        "IMAGE": ("a.png", "b.png"),
        "PROMPT": ("What?", "Where?"),
        "--answer": (None, "A dog."),
        "--max-new-tokens": ("4", "5"),
        "--gradients": (None, True),
        "--seed": ("0", "1"),
        "--intervention": ("locore:beta=0.5", "locore:beta=0.6"),
        "--no-compare": (None, True),
        "--out": ("one", "two"),
        "--json": (None, True),
    },
    "sweep": OF_A_MODEL
    | {
        "DATA": ("tiny-chair", "tiny-pope"),
        "--signals": ("log_prob", "entropy"),
        "--intervention": ("locore:beta=0.5", "locore:beta=0.6"),
        "--prompt": (None, "What?"),
        "--tokens": ("first", "mean"),
        "--batch-size": ("2", "3"),
        "--part-size": ("4", "5"),
        "--max-new-tokens": (None, "5"),
        "--sample": (None, True),
        "--temperature": (None, "0.5"),
        "--seed": ("0", "1"),
        "--engine": ("local", "ray"),
        "--workers": ("1", "2"),
        "--worker-cpus": ("1", "2"),
        "--worker-gpus": ("0", "1"),
        "--out": ("one", "two"),
        "--json": (None, True),
    },
    "report": OF_A_MODEL
    | {
        "TRACE": ("a.safetensors", "b.safetensors"),
        "--compare": (None, "b.safetensors"),
        "--title": ("A", "B"),
        "--hallucinated": (None, "t1"),
        "--grounded": (None, "3"),
        "--maps": (None, "occlusion"),
        "--no-diagnosis": (None, True),
        "--out": ("a.html", "b.html"),
    },
    "train hallurnn": {
        "--data": ("data.json", "more/data.json"),
        "--images": ("images", "more/images"),
        "--output": ("one", "two"),
        "--model": ("a", "b"),
        "--dtype": ("float32", "bfloat16"),
        "--start": (None, "cell"),
        "--cell": ("dgdpu", "residual_gru"),
        "--gates": ("dual", "constraint"),
        "--weighting": (None, "confidence"),
        "--rank": (None, "2"),
        "--bias": (None, "3"),
        "--epochs": ("1", "2"),
        "--max-steps": ("1", "2"),
        "--rate": ("0.1", "0.2"),
        "--batch": ("1", "2"),
        "--accumulate": ("1", "2"),
        "--precision": ("bf16", "fp32"),
        "--no-gradient-checkpointing": (None, True),
        "--validation": ("0", "0.5"),
        "--log-steps": ("1", "2"),
        "--save-steps": ("1", "2"),
        "--emphasis": ("1", "2"),
        "--max-tokens": ("100", "200"),
        "--workers": ("0", "1"),
        "--seed": ("0", "1"),
        "--resume": (None, True),
        "--skip": (None, True),
    },
    "train scenes": {
        "--out": ("one", "two"),
        "-n": ("1", "2"),
        "--split": ("train", "tune"),
        "--seed": ("0", "1"),
        "--surprising": ("0", "1"),
    },
}
# Flags that files or plug-ins on disk are needed for
ELSEWHERE = {"sweep": {"--format", "--images", "--load"}, "trace": {"--load"}, "report": {"--load"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that the commands may name."""
    for number, name in enumerate("ab"):
        planted_trace(mass=0.25 + 0.25 * number).save(tmp_path / f"{name}.safetensors")
    write(tmp_path)
    write(tmp_path / "more")
    DepthCell(lv.interventions.depth_cell.CellConfig(hidden_size=8), seed=5).save(tmp_path / "cell")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(value: Any) -> Any:
    """What two calls are compared by: a cell by its weights, a trace by its rows, other things by what they print."""
    if isinstance(value, lv.Trace):
        return repr(value), float(value.attention[0, 0, 0, 1])
    if isinstance(value, DepthCell):
        return value.config, [each.tolist() for each in value.parameters()]
    if isinstance(value, dict):
        return {name: told(each) for name, each in value.items()}
    return repr(value)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of the library from the commands, which do nothing."""
    calls: list[Any] = []

    def record(name: str, result: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            calls.append((name, [told(each) for each in given], told(options)))
            return result(*given)

        return call

    config = SimpleNamespace(hidden_size=8)
    family = SimpleNamespace(core=lambda _: torch.nn.Identity(), text_config=lambda _: config)
    model = SimpleNamespace(name="m", family=family, model=None)
    folder = SimpleNamespace(num_parts=1, missing=(), counts=lambda: {"images": 1, "words": 1, "errors": 0})
    in_trace, in_training = "lvlmscope.cli.commands.trace", "lvlmscope.training"
    monkeypatch.setattr(f"{in_trace}.load", record("load", lambda *_: model))
    monkeypatch.setattr(f"{in_trace}.trace", record("trace", lambda *_: replace(planted_trace(), answer="x")))
    for name in ("report", "save_figures", "_print_summary"):
        monkeypatch.setattr(f"{in_trace}.{name}", lambda *_, **__: [])
    monkeypatch.setattr(f"{in_trace}.plot.compare", lambda *_: SimpleNamespace(savefig=lambda *_, **__: None))
    monkeypatch.setattr(f"{in_trace}.effect", lambda *_: "")
    monkeypatch.setattr("lvlmscope.cli.commands.report.report", record("report", lambda _, out: _written(out)))
    monkeypatch.setattr("lvlmscope.cli.commands.report.load", record("load", lambda *_: model))
    monkeypatch.setattr("lvlmscope.sweeps.sweep", record("sweep", lambda *_: folder))
    monkeypatch.setattr("lvlmscope.verification.loading.load", record("load", lambda *_: model))
    monkeypatch.setattr(f"{in_training}.train_cell", record("train", lambda *_: SimpleNamespace(history=[])))
    read = lv.training.read_records
    monkeypatch.setattr(f"{in_training}.read_records", record("read", read))
    monkeypatch.setattr(f"{in_training}.write_scenes", record("scenes", lambda out: out / "x.json"))
    return calls


def _written(path: Path) -> Path:
    path.write_text("page")
    return path


def seen(command: str, values: Mapping[str, Any], calls: list[Any], folder: Path) -> Any:
    """What a command calls, prints and writes."""
    before = set(folder.rglob("*"))
    calls.clear()
    words = command.split()
    for flag, value in values.items():
        if value is not None:
            words += [*([flag] if flag.startswith("-") else []), *([] if value is True else [value])]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    made = sorted(set(folder.rglob("*")) - before)
    for path in made:
        if path.is_file():
            path.unlink()
    return [*calls], done.stdout, [str(path.relative_to(folder)) for path in made if path.suffix]


CASES = [(command, flag) for command, flags in FLAGS.items() for flag in flags]


@pytest.mark.parametrize(("command", "flag"), CASES)
def test_a_changed_flag_moves_what_is_called(
    command: str, flag: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch)
    first = {name: values[0] for name, values in FLAGS[command].items()}
    before = seen(command, first, calls, folder)
    assert before[0]
    assert seen(command, first, calls, folder) == before
    assert seen(command, first | {flag: FLAGS[command][flag][1]}, calls, folder) != before


@pytest.mark.parametrize("command", FLAGS)
def test_every_flag_is_changed_once(command: str) -> None:
    found: Any = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]
    for each in found.params:
        names = {each.name.upper(), *each.opts, *each.secondary_opts}
        assert len(names & (set(FLAGS[command]) | ELSEWHERE.get(command, set()))) == 1, each.opts
