"""Files of a trained cell: whole, of one cell, and refused with one error when they were altered."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lvlmscope.errors import CellError
from lvlmscope.interventions.depth_cell import CONFIG_FILE, WEIGHTS_FILE, CellConfig, DepthCell
from tests.support.depth_cells import lively

Fields = dict[str, Any]


def saved(folder: Path, seed: int = 0) -> Path:
    DepthCell(CellConfig(hidden_size=8, rank=2), seed=seed, bias=1.0).save(folder, notes={"model": "toy"})
    return folder


def change_config(folder: Path, change: Callable[[Fields], Any]) -> None:
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_whole_number_as_bias_is_a_bias() -> None:
    cell = DepthCell(CellConfig(hidden_size=8), bias=1)
    assert cell.bias["correction"].tolist() == [1.0] * 8
    with pytest.raises(CellError, match="make a cell: got bias=nan"):
        DepthCell(CellConfig(hidden_size=8), bias=float("nan"))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("sizes", [{"rank": 2.5}, {"rank": True}, {"hidden_size": 8.0}, {"rank": 0}, {"rank": 9}])
def test_sizes_are_whole_numbers_in_their_range(sizes: Any) -> None:
    with pytest.raises(CellError, match="configure a cell: got hidden_size="):
        CellConfig(**({"hidden_size": 8} | sizes))


@pytest.mark.usefixtures("unchecked_shapes")
def test_weighted_gates_are_read_again_and_plain_ones_write_what_they_did(tmp_path: Path) -> None:
    weighted = DepthCell(CellConfig(hidden_size=8, weighting="confidence"))
    weighted.save(tmp_path / "weighted")
    assert DepthCell.load(tmp_path / "weighted").config == weighted.config
    assert "weighting" not in json.loads((saved(tmp_path / "plain") / CONFIG_FILE).read_text())
    wrong: Any = {"weighting": "size"}
    for options in (wrong, {"weighting": "confidence", "cell": "gru"}):
        with pytest.raises(CellError, match="'confidence' for the DG-DPU, or None; leave weighting out"):
            CellConfig(hidden_size=8, **options)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: [1], "which holds a list"),
        (lambda f: f | {"format_version": 3}, "format 3; expected: format 1 or 2"),
        (lambda f: f | {"format_version": True}, "format True"),
        (lambda f: f | {"format_version": "1"}, "format '1'"),
        (lambda f: f | {"gates": "single"}, "a field gates that is wrong"),
        (lambda f: f | {"rank": "2"}, "a field rank that is wrong"),
        (lambda f: f | {"rank": True}, "a field rank that is wrong"),
        (lambda f: f | {"extra": 1}, "a field extra that is wrong"),
        (lambda f: {k: v for k, v in f.items() if k != "cell"}, "a field cell that is wrong"),
        (lambda f: f | {"hidden_size": 10**9}, "of width 1000000000"),
        (lambda f: f | {"rank": 3}, "size mismatch"),
        (lambda f: f | {"cell": "gru"}, "a finite bias of update_gate"),
    ],
)
def test_altered_options_are_named(tmp_path: Path, change: Callable[[Fields], Any], text: str) -> None:
    saved(tmp_path)
    change_config(tmp_path, change)
    with pytest.raises(CellError, match=f"load a cell from .*{text}"):
        DepthCell.load(tmp_path)


def test_what_the_first_format_called_gru_is_the_residual_one(tmp_path: Path) -> None:
    cell = lively(8, cell="residual_gru")
    cell.save(tmp_path)
    change_config(tmp_path, lambda f: f | {"format_version": 1, "cell": "gru"})
    read = DepthCell.load(tmp_path)
    assert read.config.cell == "residual_gru"
    v, m = torch.randn(2, 3, 8)
    assert torch.equal(read(v, m).state, cell(v, m).state)
    change_config(tmp_path, lambda f: f | {"format_version": 2})
    assert DepthCell.load(tmp_path).config.cell == "gru"


def test_weights_of_another_cell_are_noticed(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b", seed=1)
    (first / WEIGHTS_FILE).write_bytes((second / WEIGHTS_FILE).read_bytes())
    with pytest.raises(CellError, match=r"cell\.safetensors that cell\.json was not written with"):
        DepthCell.load(first)
    change_config(first, lambda f: {k: v for k, v in f.items() if k != "weights_sha256"})
    with pytest.raises(CellError, match="was not written with"):
        DepthCell.load(first)
    change_config(first, lambda f: f | {"format_version": 1})  # the first format had no digest
    assert DepthCell.load(first).config == CellConfig(hidden_size=8, rank=2)
    weights = load_file(first / WEIGHTS_FILE)
    weights["bias.correction"][0] = float("nan")
    save_file(weights, first / WEIGHTS_FILE)
    with pytest.raises(CellError, match="without a finite bias"):
        DepthCell.load(first)


def test_an_error_while_writing_leaves_the_old_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lvlmscope.interventions.cell_files.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, seed=1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert torch.equal(DepthCell.load(tmp_path).bias["correction"], torch.ones(8))
