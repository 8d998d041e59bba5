"""Checkpoints cut, emptied or altered anywhere: the one before is gone on from, or the file is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lvlmscope.errors import CellError
from lvlmscope.interventions.depth_cell import CellConfig
from lvlmscope.training import TrainingResult, train_cell
from lvlmscope.training.checkpoints import DIGESTS_FILE, last_whole_checkpoint
from tests.support.small_training import loaded, options, records

CELL = CellConfig(hidden_size=48, rank=2)
SAVED = {
    *("cell.json", "cell.safetensors", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
    *("trainer_state.json", "training_args.bin"),
}


def run(folder: Path, output: Path, *, resume: bool = False) -> TrainingResult:
    return train_cell(loaded(), records(folder), options(output, resume=resume), cell=CELL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """A finished run with checkpoints of steps 4 and 6."""
    folder = tmp_path_factory.mktemp("run")
    return folder / "out", run(folder / "data", folder / "out")


@pytest.fixture
def output(whole: tuple[Path, TrainingResult], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "out"))


def test_every_file_of_a_checkpoint_has_its_digest(output: Path) -> None:
    for step in (4, 6):
        folder = output / f"checkpoint-{step}"
        names = set(json.loads((folder / DIGESTS_FILE).read_text())["sha256"])
        assert names == {each.name for each in folder.iterdir()} - {DIGESTS_FILE}
        assert names == SAVED
    assert last_whole_checkpoint(output) == output / "checkpoint-6"


@pytest.mark.parametrize("name", [*sorted(SAVED), DIGESTS_FILE])
def test_a_file_that_is_cut_emptied_altered_or_missing_is_named(output: Path, name: str) -> None:
    file = output / "checkpoint-6" / name
    content = file.read_bytes()
    cuts = [content[:size] for size in (0, 1, 7, len(content) // 2, len(content) - 2)]
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    for damaged in (*cuts, flipped, None):
        file.unlink()
        if damaged is not None:
            file.write_bytes(damaged)
        with pytest.warns(UserWarning, match=rf"goes on from .*checkpoint-4, because of .*checkpoint-6/{name}, which"):
            assert last_whole_checkpoint(output) == output / "checkpoint-4"
        file.write_bytes(content)
    assert last_whole_checkpoint(output) == output / "checkpoint-6"


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_a_run_goes_on_from_the_checkpoint_before_to_the_same_cell(
    whole: tuple[Path, TrainingResult], output: Path, tmp_path: Path, damage: str
) -> None:
    last = output / "checkpoint-6"
    if damage == "cut":
        content = (last / "optimizer.pt").read_bytes()
        (last / "optimizer.pt").write_bytes(content[: len(content) // 2])
    else:
        shutil.rmtree(last)
        last.mkdir()
    (output / "cell.json").unlink()
    with pytest.warns(UserWarning, match=r"goes on from .*checkpoint-4, because of .*checkpoint-6/"):
        again = run(tmp_path / "data", output, resume=True)
    assert [entry["step"] for entry in again.history if "loss" in entry] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(whole[1].cell.parameters(), again.cell.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert last_whole_checkpoint(output) == last
    assert (output / "cell.json").exists()


def test_without_a_whole_checkpoint_one_error_names_the_file(output: Path, tmp_path: Path) -> None:
    for step in (4, 6):
        (output / f"checkpoint-{step}/scheduler.pt").write_bytes(b"")
    match = (
        r"^resume training: got no whole checkpoint in .*: .*checkpoint-6/scheduler\.pt, which is missing or damaged; "
    )
    with pytest.raises(CellError, match=match):
        run(tmp_path / "data", output, resume=True)


def test_without_checkpoints_a_run_begins(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint-best").mkdir()  # of another program
    assert last_whole_checkpoint(tmp_path) is None


def test_the_summary_is_whole_or_as_before(
    whole: tuple[Path, TrainingResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del whole
    (tmp_path / "out").mkdir()
    summary = tmp_path / "out/training.json"
    summary.write_text("before")
    original = Path.write_text

    def full(path: Path, data: str, *args: str, **options: str) -> int:
        if '"history"' in data:
            original(path, data[:20])
            raise OSError(28, "No space left on device")
        return original(path, data, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "data", tmp_path / "out")
    assert summary.read_text() == "before"
    assert not list(summary.parent.glob(".*.part"))
