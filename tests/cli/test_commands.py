"""The command line as a person meets it: results that are whole, and one line with exit code 2 for bad input."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from lvlmscope import __version__, load_trace
from lvlmscope.cli import console as telling
from lvlmscope.cli import main
from lvlmscope.cli.output_folder import result_folder
from lvlmscope.cli.progress import stages
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import OutputError
from lvlmscope.evaluation import Vocabulary
from lvlmscope.tiny import scene
from lvlmscope.traces.token_layout import ImageLayout, Layout
from tests.support.command_line import run, start


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo") / "results"
    done = start("demo", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_demo_writes_everything_and_says_where(demo: tuple[Path, str]) -> None:
    out, told = demo
    names = {"compare.png", "heatmap.png", "overlay.png", "page.html", "timeline.png"}
    names |= {"trace.safetensors", "trace_with_intervention.safetensors"}
    assert {path.name for path in out.iterdir()} == names
    assert f"written to {out}" in told
    for heading in ("in the image", "caption", "looks most", "looks least", "flagged layers", "intervention"):
        assert heading in told


def test_demo_traces_tell_of_a_hallucinated_word_and_of_the_intervention(demo: tuple[Path, str]) -> None:
    out, told = demo
    before, after = (
        load_trace(str(out / "trace.safetensors")),
        load_trace(str(out / "trace_with_intervention.safetensors")),
    )
    assert before.answer in " ".join(told.replace("*", "").split())
    assert "*cake*" in told
    assert "cake" in before.answer
    assert "cake" not in after.answer
    assert not before.effects
    assert after.effects[0]["changed"]
    assert "first word changed" in told


def test_demo_page_is_whole_and_fetches_nothing(demo: tuple[Path, str]) -> None:
    page = (demo[0] / "page.html").read_text()
    assert "default-src 'none'" in page
    assert "http" not in page.replace('<meta http-equiv="', "")
    document = json.loads(page.split('id="data">')[1].split("</script>")[0])
    hallucinated = [
        [word["text"] for word in side["words"] if word["kind"] == "hallucinated"] for side in document["sides"]
    ]
    assert "cake" in hallucinated[0]
    assert "cake" not in hallucinated[1]


def test_trace_command_prints_json(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    scene("neutral", 0).image.save(image)
    done = run("trace", str(image), "What do you see?", "--json", "--max-new-tokens", "8", "-o", str(tmp_path / "t"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["steps"] == 8
    assert sorted(told["files"]) == [
        str(tmp_path / "t" / f"{n}") for n in sorted(p.name for p in (tmp_path / "t").iterdir())
    ]
    assert load_trace(str(tmp_path / "t" / "trace.safetensors")).answer == told["answer"]


def test_trace_command_takes_a_given_answer(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    scene("neutral", 0).image.save(image)
    given = ("--answer", " There is a dog.", "--intervention", "locore:beta=0.3", "-o", str(tmp_path / "t"))
    done = run("trace", str(image), "What do you see?", "--json", *given)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["answer"] == " There is a dog."
    without = load_trace(str(tmp_path / "t" / "trace_without_intervention.safetensors"))
    assert without.answer == " There is a dog."
    assert not without.effects
    assert "What the intervention did" in (tmp_path / "t" / "report.html").read_text()
    assert [each["name"] for each in told["provenance"]["interventions"]] == ["LocoRE"]
    assert [each["name"] for each in told["effects"]] == ["LocoRE"]
    assert told["answer_without_intervention"] == " There is a dog."
    assert str(tmp_path / "t" / "compare.png") in told["files"]


def test_trace_command_tells_what_the_intervention_did(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    scene("neutral", 0).image.save(image)
    done = run(
        "trace", str(image), "What?", "--intervention", "dleaf", "--max-new-tokens", "4", "-o", str(tmp_path / "t")
    )
    assert done.returncode == 0, done.stderr
    assert "without intervention: " in done.stdout
    assert "DLEAF: edited" in done.stdout
    assert "%" not in done.stderr  # no bar where nobody looks


def test_progress_counts_forwards_and_is_gone_afterwards() -> None:
    module, lines = torch.nn.Linear(1, 1), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTY_INTERACTIVE", "1")
        patch.setenv("LVLMSCOPE_PROGRESS", "on")
        patch.setattr(sys, "stderr", lines)
        patch.setenv("FORCE_COLOR", "1")
        patch.setenv("TERM", "xterm")
        with stages(shown=True) as stage, stage.counting("tracing", module, total=3):
            for _ in range(2):
                module(torch.zeros(1, 1))
            stage.bar.refresh()
    assert "tracing" in lines.getvalue()
    assert "2/3" in lines.getvalue()
    assert not module._forward_hooks


def test_an_interruption_is_exit_code_130_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image.png"
    scene("neutral", 0).image.save(image)

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lvlmscope.cli.commands.trace.load", interrupted)
    done = run("trace", str(image), "What?", "-o", str(tmp_path / "t"))
    assert done.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


def test_report_command_writes_one_page(tmp_path: Path) -> None:
    for name, mass in (("a", 0.25), ("b", 0.5)):
        planted_trace(mass=mass).save(tmp_path / f"{name}.safetensors")
    files = (str(tmp_path / "a.safetensors"), "--compare", str(tmp_path / "b.safetensors"))
    done = run("report", *files, "--title", "A <b> case", "-o", str(tmp_path / "case.html"))
    assert done.returncode == 0, done.stderr
    assert "MB; opens in any browser" in " ".join(done.stdout.split())
    page = (tmp_path / "case.html").read_text()
    assert "<h1>A &lt;b&gt; case</h1>" in page
    document = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [side["label"] for side in document["sides"]] == ["first", "second"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors", "case.html"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("missing.safetensors",), "missing.safetensors: got no such file"),
        (("FOLDER/a.safetensors", "--compare", "FOLDER/other.safetensors"), "two traces of one prompt"),
        (("FOLDER/a.safetensors", "--compare", "FOLDER/shown.safetensors"), "(56 x 56 pixels) and (8 x 8 pixels)"),
        (("FOLDER/a.safetensors", "-o", "FOLDER/no/case.html"), "write a report to"),
        (("FOLDER/text.safetensors",), "damaged"),
    ],
)
def test_report_command_tells_what_it_cannot_use(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    planted_trace().save(tmp_path / "a.safetensors")
    planted_trace(side=3).save(tmp_path / "other.safetensors")
    layout = Layout(kinds=planted_trace().layout.kinds, images=(ImageLayout(cells=(), size=(8, 8)),))
    replace(planted_trace(), layout=layout).save(tmp_path / "shown.safetensors")
    (tmp_path / "text.safetensors").write_text("no trace")
    before = sorted(tmp_path.iterdir())
    done = run("report", *(each.replace("FOLDER", str(tmp_path)) for each in arguments))
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "expected"), [("lvlmscope rep", {"report"}), ("lvlmscope trace --intervention dl", {"dleaf"})]
)
def test_shells_complete_commands_and_interventions(words: str, expected: set[str]) -> None:
    asked = {"_LVLMSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    command = [str(Path(sys.executable).with_name("lvlmscope"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | asked)
    assert set(done.stdout.split()) == expected


def test_interventions_command_lists_every_intervention_with_its_paper() -> None:
    told = run("interventions", "--json")
    listed = {facts["name"]: facts for facts in json.loads(told.stdout)}
    assert {"CLVA", "DLEAF", "HalluRNN", "HeadRescaling", "LocoRE", "SGRS"} <= set(listed)
    assert listed["DLEAF"]["paper"] == "arXiv 2509.07864"
    assert listed["DLEAF"]["parameters"]["gamma"] == 0.9
    assert all(facts["from_paper"] and facts["our_choices"] and facts["cost"] for facts in listed.values())
    plain = run("interventions").stdout
    assert "LocoRE  arXiv 2601.20279" in plain
    assert "parameters: beta=0.15, window=5, layers=None, mode='logit'" in plain


def test_one_method_by_its_name() -> None:
    told = run("interventions", "DLeaf")
    assert told.stdout.startswith("DLEAF  arXiv 2509.07864\n")
    assert "LocoRE" not in told.stdout
    assert [facts["name"] for facts in json.loads(run("interventions", "sgrs", "--json").stdout)] == ["SGRS"]
    wrong = run("interventions", "nope")
    assert (wrong.returncode, "expected: ADHH" in wrong.stderr) == (2, True)


def test_the_version_and_the_module_as_a_command() -> None:
    assert run("--version").stdout == f"lvlmscope {__version__}\n"
    command = [sys.executable, "-m", "lvlmscope", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert done.stdout == f"lvlmscope {__version__}\n", done.stderr


def test_hallucinated_words_are_marked_where_there_is_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "A dog and a cake."
    found = Vocabulary({"dog": ["dog"], "cake": ["cake"]}).mentions(answer)
    monkeypatch.setattr(telling, "console", Console(color_system=None))
    assert telling.coloured(answer, found, frozenset({"dog"})).plain == "A dog and a *cake*."
    assert telling.coloured(answer, found, None).plain == answer
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(telling, "console", Console(color_system="standard", force_terminal=True))
    shown = telling.coloured(answer, found, frozenset({"dog"}))
    assert (shown.plain, [span.style for span in shown.spans]) == (answer, ["bold green", "bold red underline"])


def test_eval_command_prints_json() -> None:
    done = run("eval", "-n", "2", "--json")
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert card["captions"]["all"]["captions"] == 6
    assert set(card["probes"]) == set(card["blank"])


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("trace", "missing.png", "Describe."), "missing.png"),
        (("trace", "IMAGE", " "), "prompt"),
        (("trace", "IMAGE", "Describe.", "--model", "no/such-folder"), "no/such-folder"),
        (("trace", "IMAGE", "Describe.", "--dtype", "nonsense"), "got dtype='nonsense'; expected: 'auto'"),
        (("trace", "IMAGE", "Describe.", "--intervention", "nothing"), "list them with lvlmscope interventions"),
        (
            ("trace", "IMAGE", "Describe.", "--intervention", "dleaf:strength=1"),
            "got the parameter 'strength'; expected: gamma",
        ),
        (("trace", "IMAGE", "Describe.", "--intervention", "dleaf:gamma=2.5"), "gamma=2.5"),
        (
            ("trace", "IMAGE", "Describe.", "--intervention", "dleaf:gamma=x"),
            "gamma='x' of type str; expected: a number",
        ),
        (("demo", "--image", "99"), "99"),
        (("demo", "--out", "IMAGE"), "write results to"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    image = tmp_path / "image.png"
    scene("neutral", 0).image.save(image)
    out = tmp_path / "out"
    given = [str(image) if a == "IMAGE" else a for a in arguments]
    done = run(*given, *(() if "--out" in given else ("--out", str(out))))
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("lvlmscope: ")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.png"]


def test_a_failure_leaves_nothing_behind_and_keeps_other_files(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")

    def fail() -> None:
        with result_folder(tmp_path) as folder:
            (folder / "half.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    with pytest.raises(OutputError, match="choose another --out"), result_folder(tmp_path / "kept.txt"):
        pass


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("trace", "IMAGE", "Describe.", "--seed", "-1"), "greater than or equal to 0"),
        (("trace", "IMAGE", "Describe.", "--seed", str(2**64)), "less than or equal to 4294967295"),
        (("trace", "IMAGE", "Describe.", "--device-map", "cuda"), "torch sees no cuda device"),
        (("trace", "IMAGE", "Describe.", "-o", "x" * 300), "File name too long"),
        (("trace", "IMAGE", "Describe.", "-o", "IMAGE"), "write results to"),
        (("trace", "IMAGE", "\udcff\udcfe", "-o", "out"), "text that is not Unicode"),
    ],
)
def test_what_a_machine_cannot_do_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Image.new("RGB", (112, 112)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lvlmscope", *("a.png" if each == "IMAGE" else each for each in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert text in " ".join(told.replace("│", " ").split())
    assert "Traceback" not in told


@pytest.mark.parametrize("option", [("--weighting", "confidence"), ("--gates", "constraint"), ("--bias", "1")])
def test_a_cell_that_goes_on_takes_no_option_of_a_new_one(option: tuple[str, str]) -> None:
    done = run("train", "hallurnn", "--data", "d.json", "--images", "i", "--output", "o", "--start", "cell", *option)
    assert done.returncode == 2
    assert f"--start cell with {option[0]}; expected: options of a new cell without --start" in done.stderr
