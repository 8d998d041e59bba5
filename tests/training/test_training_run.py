"""Whole runs on a tiny random model: the loss falls, a stopped run goes on, and bad input is told."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.cli.commands.train import train_app
from lvlmscope.errors import CellError, ModelInputError, TrainingDataError, UnsupportedOptionError
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.tiny.world import SETTINGS
from lvlmscope.training import CellLearner, TrainingOptions, train_cell, write_scenes
from tests.support.depth_cells import lively
from tests.support.small_training import loaded, options, records


def test_the_loss_falls_and_everything_is_written(tmp_path: Path) -> None:
    model, data = loaded(), records(tmp_path)
    weights = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    # A lively cell spoils the model, so that there is something to learn at once
    result = train_cell(model, data, options(tmp_path / "out", max_steps=12, validation=0.0, rate=0.05), cell=lively())
    losses = [entry["loss"] for entry in result.history if "loss" in entry]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.5
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.model.state_dict().items())
    gates = result.history[0]["gates"]
    assert list(gates) == ["constraint", "correction"]
    assert list(gates["correction"]) == ["0", "1", "2"]
    written = json.loads((tmp_path / "out/training.json").read_text())
    assert written["records"] == [4, 0]
    assert written["history"] == json.loads(json.dumps(result.history))
    for folder in (tmp_path / "out", tmp_path / "out/checkpoint-12"):
        again = DepthCell.load(folder)
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), result.cell.parameters(), strict=True))
    assert (tmp_path / "out/checkpoint-12/model.safetensors").stat().st_size < 60_000


def test_a_cell_with_weighted_gates_is_trained(tmp_path: Path) -> None:
    cell = lively(weighting="confidence")
    result = train_cell(
        loaded(), records(tmp_path), options(tmp_path / "out", max_steps=12, validation=0.0, rate=0.05), cell=cell
    )
    losses = [entry["loss"] for entry in result.history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.2
    assert DepthCell.load(tmp_path / "out").config.weighting == "confidence"


def test_validation_loss_is_told_from_before_the_first_step(tmp_path: Path) -> None:
    result = train_cell(loaded(), records(tmp_path), options(tmp_path / "out", max_steps=2, log_steps=2))
    assert result.records == (3, 1)
    steps = [entry["step"] for entry in result.history if "eval_loss" in entry]
    assert steps[0] == 0
    assert steps[-1] == 2


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = records(tmp_path)
    whole = train_cell(loaded(), data, options(tmp_path / "whole"))
    forward, calls = CellLearner.forward, []

    def stop(learner: CellLearner, *args: Any, **kwargs: Any) -> Any:
        calls.append(learner.training)
        if sum(calls) > 4:
            raise KeyboardInterrupt
        return forward(learner, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CellLearner, "forward", stop)
        with pytest.raises(KeyboardInterrupt):
            train_cell(loaded(), data, options(tmp_path / "parts"))
    assert not (tmp_path / "parts/cell.json").exists()
    parts = train_cell(loaded(), data, options(tmp_path / "parts", resume=True))
    assert [e["step"] for e in parts.history if "loss" in e] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(whole.cell.parameters(), parts.cell.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision_and_checkpointing_run(tmp_path: Path) -> None:
    model = loaded()
    model.model.to(torch.bfloat16)
    chosen = options(tmp_path / "out", max_steps=2, precision="bf16", accumulate=2)
    result = train_cell(model, records(tmp_path), chosen, cell=CellConfig(hidden_size=48, cell="gru", rank=4))
    assert all(parameter.dtype == torch.float32 for parameter in result.cell.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in result.cell.parameters())


def test_a_cell_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CellError, match="a cell of hidden size 64 for a model of hidden size 48"):
        train_cell(loaded(), records(tmp_path), options(tmp_path / "out"), cell=lively(64))


def test_what_a_run_needs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = loaded(), records(tmp_path)
    model.processor.chat_template = None
    with pytest.raises(TrainingDataError, match="without a chat template"):
        train_cell(model, data, options(tmp_path / "out"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "accelerate" else True)
    with pytest.raises(UnsupportedOptionError, match=r"no accelerate.*lvlmscope\[train\]"):
        train_cell(model, data, options(tmp_path / "out"))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    "setting",
    [
        *({"epochs": 0.0}, {"max_steps": 0}, {"rate": 0.0}, {"batch": 0}, {"accumulate": 0}, {"precision": "int8"}),
        *(
            {"validation": 1.0},
            {"log_steps": 0},
            {"save_steps": 0},
            {"emphasis": 0.0},
            {"max_tokens": 0},
            {"workers": -1},
        ),
    ],
)
def test_a_setting_outside_its_range_is_named(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ModelInputError, match=f"{name}={value!r}"):
        TrainingOptions(output=Path("unused"), **setting)


def test_the_command_trains_a_cell_for_the_bundled_model(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    run = CliRunner()
    assert run.invoke(train_app, ["scenes", "--out", str(tmp_path / "scenes"), "-n", "4"]).exit_code == 0
    arguments = ["--data", str(tmp_path / "scenes/llava_instruct.json"), "--images", str(tmp_path / "scenes/images")]
    arguments += ["--output", str(tmp_path / "out"), "--max-steps", "2", "--batch", "2", "--validation", "0.25"]
    done = run.invoke(train_app, ["hallurnn", *arguments, "--rank", "4"])
    assert done.exit_code == 0, done.output
    assert "tiny: 4 records" in done.output
    assert "validation loss" in done.output
    with (
        pytest.warns(UserWarning, match="no forward of the model ran"),
        lv.intervene(lv.load("tiny"), lv.HalluRNN(cell=tmp_path / "out")),
    ):
        pass
    assert DepthCell.load(tmp_path / "out").config == CellConfig(hidden_size=192, rank=4)


def test_scenes_are_records_of_their_own_split(tmp_path: Path) -> None:
    path = write_scenes(tmp_path, n=6, surprising=0.5)
    written = json.loads(path.read_text())
    assert len(written) == 6
    read, left_out = lv.training.read_records(path, tmp_path / "images")
    assert left_out == 0
    kinds = []
    for record, raw in zip(read, written, strict=True):
        split, seed, index = raw["id"].split("-")
        one = lv.tiny.scene(split, int(index), seed=int(seed))
        assert split == "train"
        assert record.turns[0][1] == one.caption
        assert record.emphasis
        assert all(word in one.caption for word in record.emphasis)
        pairs = [pair for pair in SETTINGS[one.setting] if len(pair) == 2]
        kinds.append(any((pair[0] in one.present) != (pair[1] in one.present) for pair in pairs))
    assert sum(kinds) == 3


@pytest.mark.usefixtures("unchecked_shapes")
def test_scenes_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInputError, match="split='hard'"):
        write_scenes(tmp_path, n=1, split="hard")  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match=r"surprising=1\.5"):
        write_scenes(tmp_path, n=1, surprising=1.5)
