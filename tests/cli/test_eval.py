"""`lvlmscope eval` and `compare`: tables, folders, and one sentence with exit code 2 for what does not fit."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from warnings import catch_warnings

import pytest
from PIL import Image

from lvlmscope.cli import main
from lvlmscope.cli.intervention_syntax import expand_grid, parse_stack
from tests.support.coco_scenes import CocoFiles, write_coco


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch, catch_warnings():
        patch.setattr(sys, "argv", ["lvlmscope", *arguments])
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> CocoFiles:
    return write_coco(tmp_path_factory.mktemp("coco"), n=6)


@pytest.fixture(scope="module")
def answered(coco: CocoFiles) -> tuple[Path, Path]:
    """Answers as COCO's results have them: the reference captions, and short ones."""
    paths = coco.folder / "long.json", coco.folder / "short.json"
    told = [{"image_id": 1000 + n, "caption": scene.caption} for n, scene in enumerate(coco.scenes)]
    paths[0].write_text(json.dumps(told), encoding="utf-8")
    paths[1].write_text(json.dumps([{**one, "caption": "A dog."} for one in told]), encoding="utf-8")
    return paths


def test_answers_are_scored_without_a_model(coco: CocoFiles, answered: tuple[Path, Path], tmp_path: Path) -> None:
    files = [argument for path in answered for argument in ("--captions", str(path))]
    command = ("eval", "chair", str(coco.instances), *files, "--resamples", "100")
    code, out, err = run(*command, "-o", str(tmp_path / "one"))
    assert (code, err) == (0, "")
    assert "| long | 0.000 | 0.000 | 1.000 |" in out
    assert "| short - long, cut to the mentions of short |" in out
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["answers.parquet", "results.json", "table.md"]
    code, out, _ = run(*command, "--json")
    assert code == 0
    told = json.loads(out)
    assert [row["label"] for row in told["rows"]][:2] == ["long", "short"]
    assert told["rows"][0]["scores"]["recall"] == 1
    code, out, _ = run("compare", str(tmp_path / "one"), str(tmp_path / "one"), "-o", str(tmp_path / "both"))
    assert code == 0
    assert "| short - long |" in out
    assert (tmp_path / "both" / "table.md").read_text("utf-8") in out


def test_power_says_how_many_images_a_run_would_need(
    coco: CocoFiles, answered: tuple[Path, Path], tmp_path: Path
) -> None:
    files = [argument for path in answered for argument in ("--captions", str(path))]
    assert run("eval", "chair", str(coco.instances), *files, "--resamples", "100", "-o", str(tmp_path))[0] == 0
    code, out, err = run("power", str(tmp_path), "--score", "mean_words", "--effect", "0.01", "--json")
    assert code == 0, err
    first = json.loads(out)[0]
    assert (first["row"], first["against"], first["images"]) == ("short", "long", 6)
    expected = ((1.959964 + 0.841621) * first["deviation"] / 0.01) ** 2
    assert expected <= first["needed"] <= expected + 1
    code, out, _ = run("power", str(tmp_path), "--score", "mean_words", "--effect", "0.01")
    assert code == 0
    assert "images for 0.01" in out
    assert str(first["needed"]) in out
    code, out, _ = run("power", str(tmp_path), "--score", "recall", "--effect", "0.01")
    assert "unknown: no scatter" in " ".join(out.split()), out  # every caption has recall 1, or 0
    for wrong, sentence in (
        (("--score", "f1"), "the score 'f1' of"),
        (("--score", "recall", "--power", "1"), "power=1"),
        (("--score", "recall", "--effect", "nan"), "effect=nan"),
    ):
        code, _, err = run("power", str(tmp_path), *wrong)
        assert code == 2
        assert sentence in err


@pytest.mark.parametrize(
    "text", ["noise", "noise=x", "noise=nan", "fog=1", "noise=0.1,noise=0.2", "noise=0", "blur=-1"]
)
def test_disturbances_that_cannot_be_read_are_refused(coco: CocoFiles, text: str) -> None:
    given = ("eval", "chair", str(coco.instances), "--images", str(coco.images), "--perturb", text)
    code, _, err = run(*given)
    assert code == 2
    assert "perturb" in err or "disturb" in err


def test_disturbing_images_of_answers_that_exist_is_refused(coco: CocoFiles, answered: tuple[Path, Path]) -> None:
    given = ("--captions", str(answered[0]), "--perturb", "noise=0.1")
    code, _, err = run("eval", "chair", str(coco.instances), *given)
    assert code == 2
    assert "--perturb for answers from files" in err


@pytest.mark.slow
def test_a_model_is_run_on_ones_own_data(coco: CocoFiles, tmp_path: Path) -> None:
    code, out, err = run(
        *("eval", "pope", str(coco.instances), "--negatives", "random", "--per-image", "1", "-n", "2"),
        *("--images", str(coco.images), "--intervention", "locore:beta=0.5", "--json", "-o", str(tmp_path)),
    )
    assert code == 0, err
    told = json.loads(out)
    assert [row["label"] for row in told["rows"]] == ["plain", "locore:beta=0.5"]
    assert told["settings"]["data"]["made_questions"]["negatives"] == "random"
    assert told["comparisons"][0]["p"] is not None


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("pope",), "pope without DATA"),
        (("chair", "tiny-chair"), "got chair tiny-chair; expected: a file or folder; run lvlmscope eval tiny-chair"),
        (("tiny-chair", "--grid", "dleaf:gamma=0.5"), "got 'dleaf:gamma=0.5' without alternatives"),
        (("tiny-chair", "--grid", "dleaf:gamma=0.5|"), "got 'gamma=0.5|' with an empty value"),
        (("tiny-chair", "--grid", "dleaf:gamma=0.5|0.5"), "got a setting twice"),
        (("tiny-chair", "--grid", "dleaf:gamma=0.5|0.50"), "two ways to write one setting"),
        (("tiny-chair", "--grid", "dleaf:gamma={[]:1}|0.5"), "gamma='{[]:1}'"),
        (("tiny-chair", "--grid", "dleaf:gamma=0.5|7"), "gamma=7"),
        (("tiny", "--grid", "dleaf:gamma=0.5|0.6"), "got --grid for the report card of tiny"),
        (("chair", "INSTANCES", "--captions", "LONG", "--placebo"), "got --placebo for answers from files"),
        (("chair", "INSTANCES", "--captions", "LONG", "--captions", "LONG"), "two files of one name"),
        (("chair", "INSTANCES", "--queries", "x.json"), "got queries for data for chair"),
        (("tiny-pope", "--words", "coco"), "got --words for tiny-pope"),
        (("tiny", "--parser", "official"), "got --parser for the report card of tiny"),
        (("chair", "INSTANCES", "--captions", "INSTANCES"), "expected: "),
        (("chair", "LONG"), "expected: "),
        (("pope", "INSTANCES"), "row 1 without label"),
        (("chair", "nowhere.json"), "nowhere.json"),
        (("chair", "INSTANCES"), "instances.json, image 1 without an image"),
        (("chair", "INSTANCES", "--words", "nowhere.txt"), "nowhere.txt"),
        (("amber", "FOLDER"), "relation.json"),
        (("mme", "FOLDER"), "no folder with text files in"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_exit_code_2(
    coco: CocoFiles, answered: tuple[Path, Path], arguments: tuple[str, ...], expected: str
) -> None:
    names = {"INSTANCES": coco.instances, "LONG": answered[0], "FOLDER": coco.images}
    code, out, err = run("eval", *(str(names.get(one, one)) for one in arguments))
    assert (code, out) == (2, "")
    told = [line for line in err.splitlines() if line.startswith("lvlmscope: ")]
    assert len(told) == 1
    assert expected in told[0]
    assert "Traceback" not in err


def test_a_plus_joins_a_stack() -> None:
    assert [type(one).__name__ for one in parse_stack("dleaf:gamma=0.5+locore:beta=1e-1+clva")] == [
        "DLEAF",
        "LocoRE",
        "CLVA",
    ]
    assert len(parse_stack("locore:beta=1e+1")) == 1


def test_a_grid_leaves_its_figure_in_the_folder(tmp_path: Path) -> None:
    grid = ("--grid", "dleaf:gamma=0.1|0.5", "--max-new-tokens", "4", "--resamples", "100")
    code, out, _ = run("eval", "tiny-chair", "-n", "1", *grid, "-o", str(tmp_path / "run"))
    assert code == 0
    assert "| dleaf:gamma=0.5 - plain |" in out
    assert "2 settings compared" in out
    with Image.open(tmp_path / "run" / "ablation.png") as image:
        assert image.width > image.height > 100
    assert run("eval", "tiny-chair", "-n", "1", *grid[2:], "-o", str(tmp_path / "run"))[0] == 0
    assert not (tmp_path / "run" / "ablation.png").exists()  # of the run before


def test_a_grid_is_every_combination() -> None:
    assert expand_grid("dleaf:gamma=0.1|0.3,layers=(0.0,0.5)|(0.5,1.0)+locore") == [
        "dleaf:gamma=0.1,layers=(0.0,0.5)+locore",
        "dleaf:gamma=0.1,layers=(0.5,1.0)+locore",
        "dleaf:gamma=0.3,layers=(0.0,0.5)+locore",
        "dleaf:gamma=0.3,layers=(0.5,1.0)+locore",
    ]


def test_a_metric_that_is_nearly_right_gets_a_suggestion() -> None:
    code, _, error = run("eval", "chiar")
    assert code == 2
    assert "got 'chiar'; expected: chair, pope, mme, amber, " in error
    assert "did you mean 'chair'" in error
