"""A command that fails leaves no folder and no file: not at --out, not above it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lvlmscope.tiny import scene
from lvlmscope.training import write_scenes
from tests.support.coco_scenes import CocoFiles, write_coco
from tests.support.command_line import run


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """COCO files whose last image is broken, an image, and training records of which one image is broken."""
    home = tmp_path_factory.mktemp("given")
    coco: CocoFiles = write_coco(home / "coco", n=3)
    (coco.images / "scene_2.png").write_bytes(b"no image")
    scene("neutral", 0).image.save(home / "image.png")
    records = write_scenes(home / "scenes", n=4)
    for image in (home / "scenes/images").iterdir():
        image.write_bytes(b"no image")
    names = {"INSTANCES": coco.instances, "IMAGES": coco.images, "IMAGE": home / "image.png"}
    return names | {"RECORDS": records, "RECORD_IMAGES": home / "scenes/images", "HOME": home}


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "chair", "INSTANCES", "--images", "IMAGES"),
        ("eval", "tiny-chair", "-n", "2", "--model", "no/such-model"),
        ("eval", "tiny-pope", "-n", "2", "--captions", "IMAGE"),
        ("compare", "HOME"),
        ("sweep", "tiny-chair", "--model", "no/such-model"),
        ("sweep", "tiny-chair", "--signals", "saliency,nothing"),
        ("trace", "IMAGE", "Describe.", "--model", "no/such-model"),
        ("demo", "--image", "99"),
        ("report", "IMAGE"),
        ("train", "hallurnn", "--data", "RECORDS", "--images", "RECORD_IMAGES", "--max-steps", "1", "--rank", "2"),
    ],
)
def test_nothing_is_left_behind(arguments: tuple[str, ...], given: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "above" / "out"
    done = run(*(str(given.get(one, one)) for one in arguments), "--out", str(out))
    assert done.returncode != 0, done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_fails_in_its_first_part_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    command = ("sweep", "tiny-chair", "-o", str(tmp_path / "out"), "--max-new-tokens", "2", "--signals", "log_prob")
    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full)
        done = run(*command)
    assert "No space left on device, at part 0" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_fails_leaves_what_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs the user puts a photo where a table will be; that table cannot be written."""
    photo, written = tmp_path / "images" / "photo.png", pq.write_table

    def full_after_one(table: Any, file: Path, **options: Any) -> None:
        if "words" not in str(file):
            photo.parent.mkdir(exist_ok=True)
            photo.write_bytes(b"the only copy")
            raise OSError(28, "No space left on device")
        written(table, file, **options)

    command = ("sweep", "tiny-chair", "-o", str(tmp_path), "--max-new-tokens", "2", "--signals", "log_prob")
    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full_after_one)
        done = run(*command)
    assert "No space left on device, at part 0" in done.stderr
    assert photo.read_bytes() == b"the only copy"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["images", "photo.png"]
