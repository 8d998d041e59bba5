"""Wiring of training: each setting of a run is changed once, and what the run gives moves."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from lvlmscope.interventions.depth_cell import CellConfig
from lvlmscope.training import Record, TrainingOptions, TrainingResult, train_cell
from lvlmscope.training import training_run as run
from tests.support.depth_cells import lively
from tests.support.small_training import loaded, records

BASE: dict[str, Any] = {"max_steps": 2, "rate": 1e-2, "batch": 1, "precision": "fp32", "validation": 0.0}
BASE |= {"log_steps": 1, "save_steps": 2}


def weights(result: TrainingResult) -> Any:
    return [each.tolist() for each in result.cell.parameters()]


def steps(result: TrainingResult) -> Any:
    return [entry["step"] for entry in result.history if "loss" in entry]


def losses(result: TrainingResult) -> Any:
    return [entry["loss"] for entry in result.history if "loss" in entry]


def checkpoints(_: TrainingResult) -> Any:
    return sorted(path.name for path in Path("out").glob("checkpoint-*"))


# The other value, what moves by it, and settings of both runs
CHANGES: dict[str, tuple[Any, Callable[[TrainingResult], Any], dict[str, Any]]] = {
    "epochs": (2.0, steps, {"max_steps": -1, "batch": 2, "epochs": 1.0}),
    "max_steps": (3, steps, {}),
    "rate": (2e-2, weights, {}),
    "batch": (2, losses, {}),
    "accumulate": (2, weights, {}),
    "precision": ("bf16", weights, {}),
    "validation": (0.25, lambda result: result.records, {}),
    "log_steps": (2, steps, {}),
    "save_steps": (1, checkpoints, {}),
    "emphasis": (5.0, losses, {}),
    "max_tokens": (30, losses, {}),
    "seed": (1, losses, {}),
}
# The same numbers by design: how they are computed is checked beside them
SAME = {
    "output": "where to: tests/training/test_training_run.py reads the folder",
    "gradient_checkpointing": "below",
    "workers": "below",
    "resume": "tests/training/test_checkpoints.py",
}


def stressed(folder: Path) -> list[Record]:
    """Records with two turns and words to stress."""
    return [Record(name=r.name, image=r.image, turns=r.turns * 2, emphasis=("w21", "w24")) for r in records(folder)]


def trained(folder: Path, settings: dict[str, Any]) -> TrainingResult:
    options = TrainingOptions(output=Path("out"), **(BASE | settings))
    return train_cell(loaded(), stressed(folder), options, cell=lively())


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_setting_moves_the_result(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to, seen, beside = CHANGES[name]
    for number in range(2):
        (tmp_path / str(number)).mkdir()
    monkeypatch.chdir(tmp_path / "0")
    before = seen(trained(tmp_path / "data", beside))
    monkeypatch.chdir(tmp_path / "1")
    assert seen(trained(tmp_path / "more", beside | {name: to})) != before


def test_every_setting_is_changed_once() -> None:
    assert {each.name for each in fields(TrainingOptions)} == set(CHANGES) | set(SAME)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_settings_of_speed_reach_the_trainer(
    checkpointing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}
    make, attached = run._trainer, run.CellLearner.attached

    def trainer(*given: Any) -> Any:
        made = make(*given)
        found["workers"] = made.args.dataloader_num_workers
        monkeypatch.setattr(made, "train", lambda **_: None)
        return made

    def attach(learner: Any, *, gradient_checkpointing: bool) -> Any:
        found["checkpointing"] = gradient_checkpointing
        return attached(learner, gradient_checkpointing=gradient_checkpointing)

    monkeypatch.setattr(run, "_trainer", trainer)
    monkeypatch.setattr(run.CellLearner, "attached", attach)
    options = TrainingOptions(output=tmp_path, workers=3, gradient_checkpointing=checkpointing, **BASE)
    train_cell(loaded(), records(tmp_path / "data"), options)
    assert found == {"workers": 3, "checkpointing": checkpointing}


def test_a_cell_or_its_configuration_is_what_is_trained(tmp_path: Path) -> None:
    options = TrainingOptions(output=tmp_path, **(BASE | {"max_steps": 1, "rate": 1e-9}))
    data = records(tmp_path / "data")
    given, made = lively(), train_cell(loaded(), data, options, cell=CellConfig(hidden_size=48, cell="gru", rank=4))
    again = train_cell(loaded(), data, options, cell=lively())
    assert made.cell.config == CellConfig(hidden_size=48, cell="gru", rank=4)
    for one, other in zip(again.cell.parameters(), given.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
