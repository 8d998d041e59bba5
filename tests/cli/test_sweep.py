"""`lvlmscope sweep`: a folder of images into tables, gone on with, and one sentence for what does not fit."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lvlmscope.cli.app import app
from lvlmscope.errors import EvaluationError
from lvlmscope.tiny import scene
from tests.support.command_line import run

RUNNER = CliRunner()


def test_a_folder_of_images_is_swept_and_gone_on_with(tmp_path: Path) -> None:
    for number in range(2):
        scene("neutral", number).image.save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    options = ["--signals", "entropy,layer_image_entropy", "--max-new-tokens", "6", "--intervention", "dleaf:gamma=0.5"]
    command = ["sweep", str(tmp_path), "-o", str(tmp_path / "out"), *options]
    done = RUNNER.invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.startswith("2 images, ")
    assert " 1 errors in " in done.stdout
    again = RUNNER.invoke(app, [*command, "--json"], catch_exceptions=False)
    facts = json.loads(again.stdout)
    assert (facts["images"], facts["errors"], facts["parts"], facts["missing"]) == (2, 1, 1, [])
    with pytest.raises(EvaluationError, match="made with other interventions"):
        RUNNER.invoke(app, command[:-2], catch_exceptions=False)


def test_a_sweep_whose_items_all_fail_is_no_success(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    done = run("sweep", str(tmp_path), "-o", str(tmp_path / "out"), "--signals", "entropy")
    assert done.returncode == 2
    assert done.stdout.startswith("0 images, 0 words, 2 errors in ")
    assert "got an error at each of 2 items" in done.stderr
    assert (tmp_path / "out" / "errors").is_dir()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="without images"):
        RUNNER.invoke(app, ["sweep", str(tmp_path), "-o", str(tmp_path / "out")], catch_exceptions=False)


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("instances.json", '{"images": [], "annotations": []}', "add --format chair, which it looks like"),
        ("mine.jsonl", '{"id": 1, "image": "a.png", "objects": ["dog"]}', "add --format chair, which it looks like"),
        ("asked.jsonl", '{"question_id": 1, "text": "Is there a dog?", "label": "yes"}', "add --format pope"),
        ("query_all.json", "[]", "add --format amber"),
        ("notes.txt", "nothing", "add its --format"),
    ],
)
def test_a_data_set_without_its_format_is_told_the_likely_one(tmp_path: Path, name: str, text: str, fix: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["sweep", str(tmp_path / name), "-o", str(tmp_path / "out")]
    with pytest.raises(EvaluationError, match=f"{name}, a file, without --format; expected: a folder.*; {fix}"):
        RUNNER.invoke(app, command, catch_exceptions=False)
    (tmp_path / "sub").mkdir()
    command = ["sweep", str(tmp_path / "sub"), "--images", str(tmp_path), "-o", str(tmp_path / "out")]
    with pytest.raises(EvaluationError, match="sub with --images without --format"):
        RUNNER.invoke(app, command, catch_exceptions=False)
    assert not (tmp_path / "out").exists()
