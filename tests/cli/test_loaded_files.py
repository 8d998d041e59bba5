"""`--load`: signals and interventions of a file are known to the command, and what is wrong with it is one line."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvlmscope.interventions.registry import INTERVENTIONS
from lvlmscope.tiny import scene
from lvlmscope.traces.word_signals import SIGNALS
from tests.support.command_line import run

MINE = '''
from dataclasses import dataclass
from typing import Annotated

import lvlmscope as lv
from beside import STRENGTH
from lvlmscope.interface.declared_types import Range


@lv.signal(name="late_focus", kind="attention", suspicious="low")
def late_focus(trace):
    """Attention on the image in the last layer."""
    return lv.image_attention_focus(trace).mean("head").isel(layer=[-1])


@lv.intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class Louder(lv.InterventionConfig):
    """Gains of a head."""

    strength: Annotated[float, Range(ge=0)] = STRENGTH

    def start(self, model_info):
        return LouderSession(self.strength)


class LouderSession(lv.Session):
    def __init__(self, strength):
        self.strength = strength

    def head_gain(self, rows):
        return rows.weights.new_full(rows.weights.shape[:3], 1 + self.strength)
'''


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """The file, with a module beside it that it imports."""
    file = tmp_path / "random.py"  # a name that Python has too
    file.write_text(MINE, encoding="utf-8")
    (tmp_path / "beside.py").write_text("STRENGTH = 0.5\n", encoding="utf-8")
    before = set(sys.modules), list(sys.path)
    with SIGNALS.temporary(), INTERVENTIONS.temporary():
        yield file
    sys.path[:] = before[1]
    for name in set(sys.modules) - before[0]:
        if name == "beside" or name.startswith("lvlmscope_loaded_"):
            del sys.modules[name]


def test_what_a_file_registers_is_listed_and_used(mine: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    scene("neutral", 0).image.save(image)
    for _ in range(2):  # a second command in one process finds the file loaded
        listed = run("signals", "--json", "--load", str(mine))
        assert "late_focus" in [each["name"] for each in json.loads(listed.stdout)], listed.stderr
    assert json.loads(run("interventions", "louder", "--json").stdout)[0]["parameters"] == {"strength": 0.5}
    given = ("--load", str(mine), "--intervention", "louder:strength=2", "--max-new-tokens", "4")
    done = run("trace", str(image), "What?", *given, "--json", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["effects"][0]["name"] == "Louder"
    assert "late_focus" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_sweep_reads_a_signal_of_a_file(mine: Path, tmp_path: Path) -> None:
    given = ("--load", str(mine), "--signals", "late_focus,margin", "--max-new-tokens", "4")
    (tmp_path / "images").mkdir()
    scene("neutral", 0).image.save(tmp_path / "images" / "one.png")
    done = run("sweep", str(tmp_path / "images"), *given, "-o", str(tmp_path / "swept"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "swept" / "sweep.json").read_text(encoding="utf-8"))["signals"].keys() >= {
        "late_focus"
    }
    refused = run("sweep", str(tmp_path / "images"), *given, "-o", str(tmp_path / "other"), "--engine", "ray")
    assert refused.returncode == 2
    assert "sweep on Ray: got --load" in refused.stderr
    assert "entry point" in refused.stderr


def test_the_environment_names_files_too(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVLMSCOPE_LOAD", str(mine))
    assert "late_focus" in run("signals").stdout


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("no.py", None, "no.py: got no such file; expected: a Python file (.py)"),
        ("mine.txt", "x = 1", "mine.txt: got a file that is not Python's"),
        ("mine.py", "x = 1\nimport torchx\n", "got ModuleNotFoundError: No module named 'torchx' in line 2"),
        ("mine.py", "x = 1\n\ndef f(:\n", "got SyntaxError: "),
        ("mine.py", "raise SystemExit(3)", "got SystemExit: 3 in line 1"),
        (
            "mine.py",
            "import lvlmscope as lv\nlv.signal(name='Margin', kind='confidence')(len)",
            "register the signal 'Margin': got a name that is taken",
        ),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_line(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with SIGNALS.temporary():
        done = run("signals", "--load", str(tmp_path / name))
    assert done.returncode == 2
    assert f"lvlmscope: load {tmp_path / name}" in done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [module for module in sys.modules if module.startswith("lvlmscope_loaded_mine")]


@pytest.mark.parametrize("arguments", [("interventions", "louder"), ("sweep", "tiny-chair", "--signals", "late_focus")])
def test_an_unknown_name_points_to_the_option(arguments: tuple[str, ...], tmp_path: Path) -> None:
    given = (*arguments, "-o", str(tmp_path / "out")) if arguments[0] == "sweep" else arguments
    assert "on the command line in a file that --load names" in run(*given).stderr
