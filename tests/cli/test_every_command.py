"""What holds for every command: help by `-h`, and the model by `--model`."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from lvlmscope.cli.app import app
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
