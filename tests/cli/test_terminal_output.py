"""What the commands print in any terminal: help, tables of any width, output encodings, errors as sentences."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from lvlmscope.cli import console as printing
from lvlmscope.cli import main
from lvlmscope.cli.app import app
from lvlmscope.cli.commands import evaluate_data
from lvlmscope.cli.commands import models as models_command
from lvlmscope.cli.sentences import sentence
from lvlmscope.cli.tables import print_markdown, print_table
from lvlmscope.errors import OutputError, message
from lvlmscope.models.supported_types import list_models
from tests.support.command_line import run

LONG = "dleaf:gamma=0.5,threshold=max+locore:beta=0.3"
ENCODINGS = ["ascii", "latin-1", "cp1252", "utf-8"]
HEADS = ["", "questions", "accuracy", "CHAIR_I [interval]", "recall", "f1", "yes_rate", "parsers_differ"]
ROWS = [[name, *(["+0.123 [-0.1, +0.2]"] * 7)] for name in ("plain", LONG, f"{LONG} - plain, cut to the mentions")]


def commands(group: Any, *above: str) -> Iterator[tuple[str, ...]]:
    """Every command and every group of commands, as it is typed."""
    yield above
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *above, name)


@pytest.mark.parametrize("command", [*commands(typer.main.get_command(app))], ids=" ".join)
def test_short_and_long_help_are_the_same(command: tuple[str, ...]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert "Usage: " in short.stdout


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("command", [*commands(typer.main.get_command(app))], ids=" ".join)
def test_help_names_options_and_commands_whole(
    command: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    text = run(*command, "-h").stdout
    assert "…" not in text
    assert "...\n" not in text.split("Options")[1]
    assert max(map(len, text.splitlines())) <= width
    names = [
        each for option in found.params if "--" in option.opts[0] for each in (*option.opts, *option.secondary_opts)
    ]
    for name in [*names, *getattr(found, "commands", {})]:
        assert name in text.replace(",", " ").split()


class Output(io.TextIOWrapper):
    """Standard output in an encoding."""

    def __init__(self, encoding: str) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding)


def terminal(width: int, encoding: str = "utf-8") -> tuple[Console, Output]:
    file = Output(encoding)
    return Console(file=file, width=width, force_terminal=True, color_system=None, highlight=False), file


def written(file: Output) -> str:
    file.flush()
    return file.bytes.getvalue().decode(file.encoding)


def joined(text: str, column: int = 0) -> str:
    """What stands in a column, with the spaces and line breaks taken out that folding puts in."""
    cells = [line.replace("┃", "│").split("│")[column + 1] for line in text.splitlines() if line[:1] in "│┃" and line]
    return "".join("".join(cells).split())


@pytest.mark.parametrize("width", [20, 60, 80, 300])
def test_row_names_and_cells_are_whole_at_any_width(width: int) -> None:
    console, file = terminal(width)
    print_table(console, "scores", HEADS, ROWS)
    text = written(file)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    parts = joined(text).count("plain,cuttothementions")
    assert parts == (1 if width == 300 else parts)
    for row in ROWS:
        assert joined(text).count(row[0].replace(" ", "")) >= parts
    squeezed = "".join(text.split()).replace("│", "").replace("┃", "")
    if width >= 60:
        assert text.count("+0.123 [-0.1, +0.2]") == 7 * len(ROWS)
        for head in HEADS:
            assert head in text
    assert "scores" in squeezed


@pytest.mark.parametrize("width", [60, 80])
def test_a_pipe_gets_one_table_as_wide_as_it_is(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    file = io.StringIO()
    print_table(Console(file=file), "scores", HEADS, ROWS)
    for name, *_ in ROWS:
        assert f"│ {name} " in file.getvalue()
    assert file.getvalue().count("questions") == 1


@pytest.mark.parametrize("width", [60, 80])
def test_markdown_is_drawn_on_terminals_and_left_as_it_is_in_pipes(width: int) -> None:
    text = f"# A run\n\n|  |  | CHAIR_I |\n| --- | --- | --- |\n| prior | {LONG}\\|2 | 0.571 [+0.1, +0.9] |\n"
    console, file = terminal(width)
    print_markdown(console, text)
    assert joined(written(file)) == "prior"
    assert joined(written(file), 1) == f"{LONG}|2"
    assert "0.571 [+0.1, +0.9]" in written(file)
    assert "---" not in written(file)
    piped = io.StringIO()
    print_markdown(Console(file=piped), text)
    assert piped.getvalue().rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("arguments", [("eval", "-n", "1", "--max-new-tokens", "4"), ("models",)], ids=" ".join)
def test_tables_of_the_commands_keep_their_row_names(
    arguments: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    console, file = terminal(width)
    for module in (printing, evaluate_data, models_command):
        monkeypatch.setattr(module, "console", console)
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    names = [model.model_type for model in list_models()] if arguments == ("models",) else ["neutral/random", "all"]
    assert {f"│ {name} " in written(file) for name in names} == {True}
    assert max(map(len, written(file).splitlines())) <= width


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "arguments", [("models",), ("signals",), ("interventions",), ("-h",), ("train", "hallurnn", "-h")], ids=" ".join
)
def test_every_output_encoding_will_do(
    arguments: tuple[str, ...], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Output(encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        patch.setattr(sys, "argv", ["lvlmscope", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        assert len(written(file)) > 200


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("eval", "-n", "1", "--max-new-tokens", "2"),
        ("eval", "tiny-chair", "-n", "1"),
        ("demo", "-o", "OUT"),
    ],
    ids=" ".join,
)
def test_long_commands_show_progress_on_terminals_alone(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    shown = Terminal()
    monkeypatch.setattr(sys, "argv", ["lvlmscope", *(str(tmp_path / "out") if a == "OUT" else a for a in arguments)])
    monkeypatch.setattr(sys, "stderr", shown)
    with pytest.raises(SystemExit):
        main()
    assert "loading" in shown.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_stays_json_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console, file = terminal(60, encoding)
    monkeypatch.setattr(printing, "console", console)
    printing.print_json({"answer": "a café … 猫"})
    assert json.loads(written(file)) == {"answer": "a café … 猫"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("trace",), "Missing argument"),
        (("trace", "--modle"), "No such option"),
        (("nothing",), "No such command"),
        (("eval", "-n", "x"), "Invalid value"),
        (("train", "nothing"), "No such command"),
        (("report", "missing.safetensors"), "no such file"),
        (("check", "--model", "no/such-model"), "no/such-model"),
        (("check", "tiny", "--model", "other"), "one model"),
        (("eval", "a/model", "--model", "b/model"), "one model"),
        (("eval", "chiar"), "did you mean"),
        (("compare", "nothing"), "got"),
        (("power", "nothing", "--score", "recall"), "got"),
        (("sweep", "nothing", "-o", "out"), "got"),
        (("interventions", "nope"), "expected"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_every_printed_error_is_a_sentence(arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    told = " ".join(done.stderr.translate(str.maketrans("╭╮╰╯─│", "      ")).split())
    assert text in told
    assert told.endswith(".")
    assert "Traceback" not in told


def test_errors_of_the_system_and_warnings_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device", "a/file")

    with monkeypatch.context() as patch:
        patch.setattr("lvlmscope.cli.commands.models.run_models", full)
        assert run("models").stderr.endswith("No space left on device (a/file).\n")
    assert sentence(OutputError(message("a", "b", "do c."))) == "got a; expected: b; do c."


def test_the_model_is_named_by_an_option_and_by_place() -> None:
    assert "--model" in run("check", "-h").stdout
    by_option, by_place = run("check", "--model", "tiny"), run("check", "tiny")
    assert (by_option.returncode, by_place.returncode) == (0, 0)
    assert run("check", "tiny", "--model", "tiny").returncode == 0
    card = run("eval", "--model", "tiny", "-n", "1", "--max-new-tokens", "2", "--json")
    assert json.loads(card.stdout) == json.loads(
        run("eval", "tiny", "-n", "1", "--max-new-tokens", "2", "--json").stdout
    )
