"""What type checkers and editors see of `lvlmscope`, in step with what it serves, and that serving stays lazy."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import jedi
import pytest

import lvlmscope
from lvlmscope.cli.completion import complete_intervention
from lvlmscope.interventions.registry import intervention_names

FOLDERS = ("lvlmscope.interventions", "lvlmscope.diagnostics", "lvlmscope.lenses")
HEAVY = ("torch", "transformers", "numpy", "matplotlib", "plotly", "xarray", "pandas", "PIL", "sklearn")
USER = """\
import lvlmscope as lv

reveal_type(lv.trace)
reveal_type(lv.load_trace("case.safetensors"))
reveal_type(lv.DLEAF)
reveal_type(lv.saliency)
reveal_type(lv.plot.heatmap)
lv.tracee("x")
"""
STAR = "from lvlmscope import *\n\nreveal_type(trace_many)\n"


@pytest.fixture(scope="module")
def front_page() -> ast.Module:
    return ast.parse(Path(str(lvlmscope.__file__)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def typed(front_page: ast.Module) -> list[tuple[str, str]]:
    """Names with the modules from which type checkers take them, as they stand in `__init__.py`."""
    (block,) = [
        node for node in front_page.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    found = []
    for line in block.body:
        assert isinstance(line, ast.ImportFrom)
        (alias,) = line.names
        assert alias.name == alias.asname, f"{alias.name} is not re-exported: write `import {alias.name} as ...`"
        found.append((alias.name, str(line.module)))
    return found


def test_type_checkers_see_exactly_what_is_served(typed: list[tuple[str, str]]) -> None:
    assert len(typed) == len(dict(typed)), "a name is imported twice"
    assert {name for name, home in typed if home == "lvlmscope"} == set(lvlmscope._MODULES)
    assert {name: home for name, home in typed if home != "lvlmscope"} == lvlmscope._HOMES


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_name_of_a_folder_is_offered_at_the_top(folder: str) -> None:
    served = {name for name, home in lvlmscope._HOMES.items() if home == folder}
    assert served == set(importlib.import_module(folder).__all__)


def test_all_is_written_out_and_complete(front_page: ast.Module) -> None:
    """Type checkers read `__all__` only where it is made of literal lists."""
    written: list[str] = []
    for node in front_page.body:
        if isinstance(node, ast.Assign | ast.AugAssign) and ast.unparse(node).startswith("__all__ "):
            assert node.value is not None
            written += ast.literal_eval(node.value)
    assert written == lvlmscope.__all__
    assert sorted(written) == sorted(["__version__", "load_trace", *lvlmscope._HOMES, *lvlmscope._MODULES])
    assert dir(lvlmscope) == sorted(written)


@pytest.mark.parametrize("name", [*lvlmscope._HOMES, *lvlmscope._MODULES])
def test_what_is_served_is_what_its_module_holds(name: str) -> None:
    home = lvlmscope._HOMES.get(name)
    held = getattr(importlib.import_module(home), name) if home else importlib.import_module(f"lvlmscope.{name}")
    assert getattr(lvlmscope, name) is held


@pytest.mark.parametrize(("wrong", "meant"), [("tracee", "trace"), ("DLEEF", "DLEAF"), ("plots", "plot")])
def test_an_unknown_name_is_told_what_was_meant(wrong: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'lvlmscope' has no attribute '{wrong}'; did you mean '{meant}'"):
        getattr(lvlmscope, wrong)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(AttributeError, match=r"^module 'lvlmscope' has no attribute 'zzzz'$"):
        lvlmscope.zzzz  # noqa: B018


@pytest.fixture(scope="module")
def user_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("user")
    (folder / "user.py").write_text(USER, encoding="utf-8")
    (folder / "star.py").write_text(STAR, encoding="utf-8")
    return folder / "user.py", folder / "star.py"


def check(*command: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr  # for the one mistake in the file
    return done.stdout


@pytest.mark.slow
def test_mypy_knows_signatures_and_refuses_unknown_names(repository: Path, user_files: tuple[Path, Path]) -> None:
    told = check("mypy", "--strict", "--config-file", "pyproject.toml", *map(str, user_files), cwd=repository)
    types = re.findall(r'Revealed type is "(.*)"', told)
    assert len(types) == 6, told
    assert not [one for one in types if one == "Any"]
    by_start = ("Overload(def (model: ", "lvlmscope.traces.trace.Trace", "def (*, gamma: float", "def (trace: ")
    for start in (*by_start, "def (signal: ", "def (model: Any, examples: "):
        assert [one for one in types if one.startswith(start)], (start, types)
    (error,) = [line for line in told.splitlines() if ": error: " in line]
    assert 'has no attribute "tracee"' in error


@pytest.mark.slow
def test_mypy_knows_what_every_name_is(repository: Path, tmp_path: Path) -> None:
    """A name that is also its module's, such as `score_signals`, is easily taken for the module or for nothing."""
    lines = [f"reveal_type(lv.{name})" for name in lvlmscope._HOMES]
    (tmp_path / "every.py").write_text("import lvlmscope as lv\n" + "\n".join([*lines, "lv.tracee"]), encoding="utf-8")
    told = check("mypy", "--config-file", "pyproject.toml", str(tmp_path / "every.py"), cwd=repository)
    types = dict(zip(lvlmscope._HOMES, re.findall(r'Revealed type is "(.*)"', told), strict=True))
    assert [name for name, one in types.items() if not one.startswith(("def (", "def [", "Overload("))] == []


@pytest.mark.slow
def test_pyright_knows_signatures_and_refuses_unknown_names(user_files: tuple[Path, Path]) -> None:
    """Through basedpyright, whose wheel needs no download when it is run."""
    files = [file.name for file in user_files]
    told = check("basedpyright", "--pythonpath", sys.executable, *files, cwd=user_files[0].parent)
    types = dict(re.findall(r'information: Type of "(.*)" is "(.*)', told))
    assert types.pop(r'lv.load_trace("case.safetensors")') == 'Trace"', told
    for name, start in {
        "lv.trace": "Overload[(model: ",
        "lv.DLEAF": "type[DLEAF]",
        "lv.saliency": "(trace: Trace, ",
        "lv.plot.heatmap": "(signal: ",
        "trace_many": "(model: ",
    }.items():
        assert types[name].startswith(start), told
    (error,) = [line for line in told.splitlines() if " - error: " in line]
    assert '"tracee" is not a known attribute of module "lvlmscope"' in error


@pytest.mark.parametrize(
    ("typed_so_far", "expected"),
    [
        ("tra", {"trace": "trace(model", "trace_many": "trace_many(model"}),
        ("sali", {"saliency": "saliency(trace", "saliency_to_image": "saliency_to_image(trace"}),
        ("DLE", {"DLEAF": "DLEAF(gamma"}),
        ("load_t", {"load_trace": "load_trace(path"}),
    ],
)
def test_an_editor_completes_names_with_signatures(typed_so_far: str, expected: dict[str, str]) -> None:
    found = jedi.Script(f"import lvlmscope as lv\nlv.{typed_so_far}").complete()
    signatures = {one.name: [each.to_string() for each in one.get_signatures()] for one in found}
    for name, start in expected.items():
        assert signatures.get(name), f"{name} is not completed, or without a signature: {signatures}"
        assert signatures[name][0].startswith(start)


def loaded_after(code: str, repository: Path, **variables: str) -> tuple[set[str], str]:
    """The heavy libraries that a new interpreter holds after a piece of code, and what the code printed."""
    tell = f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    told = f"import atexit, sys\natexit.register(lambda: {tell})\n"
    done = subprocess.run(
        [sys.executable, "-c", told + code],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"COLUMNS": "200"} | variables,
    )
    assert done.returncode == 0, done.stderr
    return set(ast.literal_eval(done.stderr.splitlines()[-1])), done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import lvlmscope",
        "import lvlmscope; dir(lvlmscope)",
        "import lvlmscope; hasattr(lvlmscope, 'tracee')",
        "from lvlmscope import errors, LvlmscopeError",
    ],
)
def test_importing_loads_nothing_heavy(code: str, repository: Path) -> None:
    assert loaded_after(code, repository)[0] == set()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--version"], f"lvlmscope {lvlmscope.__version__}"),
        (["--help"], "demo"),
        (["trace", "--help"], "--max-new-tokens"),
        (["train", "hallurnn", "--help"], "--accumulate"),
    ],
)
def test_version_and_help_load_nothing_heavy(arguments: list[str], expected: str, repository: Path) -> None:
    code = f"sys.argv = ['lvlmscope', *{arguments}]\nfrom lvlmscope.cli import main\nmain()"
    loaded, printed = loaded_after(code, repository)
    assert expected in printed
    assert loaded == set()


@pytest.mark.parametrize(
    ("words", "expected"), [("lvlmscope rep", "report"), ("lvlmscope trace --intervention dl", "dleaf")]
)
def test_completion_loads_nothing_heavy(words: str, expected: str, repository: Path) -> None:
    asked = {"_LVLMSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    code = "sys.argv = ['lvlmscope']\nfrom lvlmscope.cli import main\nmain()"
    loaded, printed = loaded_after(code, repository, **asked)
    assert expected in printed.split()
    assert loaded == set()


def test_completion_offers_the_interventions_that_can_be_switched_on() -> None:
    assert complete_intervention("") == sorted(name.lower() for name in intervention_names())
