"""The modules of the page: what they import is there, and joined they are one script."""

import re
from collections import Counter
from importlib.resources import files

import pytest

from lvlmscope.explorer.page_script import START, START_APP, page_script, script_parts

FOLDER = files("lvlmscope.explorer").joinpath("page")
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./(\w+\.js)";$', re.MULTILINE)
TOP = re.compile(r"^(?:export )?(?:async )?(?:class|const|function) (\w+)", re.MULTILINE)
MOST = 320  # lines, as of the Python files
STARTS = (START, START_APP)
EVERY = sorted({*script_parts(START), *script_parts(START_APP)})


def text_of(name: str) -> str:
    return FOLDER.joinpath(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EVERY)
def test_what_a_module_imports_is_exported_there_and_used_here(name: str) -> None:
    text = text_of(name)
    assert text.startswith("// ")  # what the reader finds in it
    assert len(text.splitlines()) <= MOST
    for line in re.findall(r"^import .*$", text, re.MULTILINE):
        assert IMPORT.fullmatch(line), line
    for names, home in IMPORT.findall(text):
        for one in names.split(", "):
            assert re.search(rf"^export (?:async )?(?:class|const|function) {one}\b", text_of(home), re.MULTILINE), one
            assert len(re.findall(rf"\b{one}\b", text)) > 1, f"{name} does not use {one}"


def test_every_module_is_in_a_script() -> None:
    assert sorted(each.name for each in FOLDER.iterdir() if each.name.endswith(".js")) == EVERY


@pytest.mark.parametrize("start", STARTS)
def test_every_module_comes_after_those_that_it_needs(start: str) -> None:
    parts = script_parts(start)
    for name in parts:
        assert all(parts.index(home) < parts.index(name) for _, home in IMPORT.findall(text_of(name)))


@pytest.mark.parametrize(("start", "exported", "fetched"), [(START, ["export default {"], 0), (START_APP, [], 1)])
def test_a_script_has_no_name_twice_and_fetches_nothing(start: str, exported: list[str], fetched: int) -> None:
    script = page_script(start)
    assert [name for name, count in Counter(TOP.findall(script)).items() if count > 1] == []
    assert [line for line in script.splitlines() if line.startswith(("import ", "export "))] == exported
    assert script.count("fetch(") == fetched  # the page of a local server sends its messages so
    for fetching in (
        "XMLHttpRequest",
        "import(",
        "innerHTML",
        "insertAdjacentHTML",
        "eval(",
        "document.write",
    ):
        assert fetching not in script
