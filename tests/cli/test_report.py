"""`lvlmscope report`: words that are marked, maps that the model computes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import lvlmscope as lv
from lvlmscope.tiny import scene
from tests.support.command_line import run


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two traces of one answer, the second with an intervention."""
    folder, model, image = tmp_path_factory.mktemp("traced"), lv.load("tiny"), scene("prior", 0).image
    options: dict[str, Any] = {"answer": " A handbag and an airplane.", "progress": False}
    lv.trace(model, image, "Describe the image.", **options).save(folder / "a.safetensors")
    edited = lv.trace(model, image, "Describe the image.", interventions=[lv.DLEAF()], **options)
    edited.save(folder / "b.safetensors")
    return folder


def page(out: Path) -> dict[str, Any]:
    text = out.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.split('id="data">')[1].split("</script>")[0])
    return found


def kinds(document: dict[str, Any]) -> dict[str, str]:
    return {word["text"]: word["kind"] for word in document["sides"][0]["words"] if word["kind"]}


def test_words_are_marked_by_text_and_by_step(traced: Path, tmp_path: Path) -> None:
    out = tmp_path / "case.html"
    marks = ("--hallucinated", "airplane", "--grounded", "1", "--no-diagnosis")
    done = run("report", str(traced / "a.safetensors"), *marks, "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert sorted(kinds(page(out)).values()) == ["grounded", "hallucinated"]
    assert kinds(page(out))["airplane"] == "hallucinated"


def test_maps_are_computed_for_the_trace_without_intervention(traced: Path, tmp_path: Path) -> None:
    plain, mapped = tmp_path / "plain.html", tmp_path / "mapped.html"
    files = (str(traced / "a.safetensors"), "--compare", str(traced / "b.safetensors"))
    shared = ("--model", "tiny", "--hallucinated", "airplane", "--no-diagnosis")
    assert run("report", *files, *shared, "-o", str(plain)).returncode == 0
    done = run("report", *files, *shared, "--maps", "occlusion", "-o", str(mapped))
    assert done.returncode == 0, done.stderr
    assert "lost when covered" in mapped.read_text(encoding="utf-8")
    assert "lost when covered" not in plain.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--hallucinated", "nothere"), "got 'nothere'"),
        (("--maps", "occlusion"), "--maps occlusion without --model"),
        (("--maps", "nothing"), "Invalid value"),
    ],
)
def test_what_cannot_be_marked_or_computed_is_said(
    options: tuple[str, ...], text: str, traced: Path, tmp_path: Path
) -> None:
    done = run("report", str(traced / "a.safetensors"), *options, "-o", str(tmp_path / "case.html"))
    assert done.returncode == 2
    assert text in done.stderr
    assert list(tmp_path.iterdir()) == []
