"""What holds for every command: help by `-h`, and the model by `--model`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from lvlmscope.cli.app import app
from lvlmscope.diagnostics import planted_trace
from tests.cli.test_commands import run


def commands(found: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    found = typer.main.get_command(app) if found is None else found
    yield path
    for name, each in getattr(found, "commands", {}).items():
        yield from commands(each, (*path, name))


EVERY = list(commands())


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_help_has_a_short_name(command: tuple[str, ...]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert short.returncode == 0, short.stderr
    assert "Usage: " in short.stdout
    assert short.stdout == long.stdout


@pytest.mark.parametrize("words", [("check", "--model", "nowhere/at-all"), ("check", "nowhere/at-all")])
def test_check_takes_the_model_in_both_places(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "nowhere/at-all" in done.stderr
    assert done.stderr.rstrip().endswith(".")


def test_two_models_are_refused() -> None:
    done = run("check", "tiny", "--model", "other")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'tiny' and --model other; expected: one model" in done.stderr


def test_a_report_card_of_a_model_that_is_not_there() -> None:
    done = run("eval", "card", "--model", "nowhere/at-all")
    assert done.returncode == 2
    assert "nowhere/at-all" in done.stderr


def test_a_report_marks_words_of_either_answer(tmp_path: Path) -> None:
    path, page = tmp_path / "a.safetensors", tmp_path / "a.html"
    planted_trace().save(path)
    done = run("report", str(path), "--hallucinated", "word1", "--grounded", "word0", "-o", str(page), "--no-diagnosis")
    assert done.returncode == 0, done.stderr
    plain = tmp_path / "plain.html"
    assert run("report", str(path), "-o", str(plain), "--no-diagnosis").returncode == 0
    kinds = [text.count('"hallucinated"') for text in (page.read_text("utf-8"), plain.read_text("utf-8"))]
    assert kinds[0] > kinds[1]
    for word in ("knife", " "):
        done = run("report", str(path), "--hallucinated", word, "-o", str(page))
        assert done.returncode == 2
        assert repr(word) in done.stderr or "an empty word" in done.stderr
