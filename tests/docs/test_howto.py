"""The how-to pages do what they say: their `python` blocks run, page by page (`py` blocks need what is not here)."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from lvlmscope.interventions.registry import INTERVENTIONS
from lvlmscope.models.families import FAMILIES
from lvlmscope.traces.word_signals import SIGNALS

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "howto").glob("*.md"))
HOME = PAGES[0].parents[2]
# a block, and what it prints where the page shows that
_BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"-?\d+\.\d+")
_LONGEST = 92  # characters of a line of code: more is cut by the page's edge


@pytest.mark.usefixtures("unchecked_shapes")  # as a reader runs them
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LVLMSCOPE_PROGRESS", "off")
    text = page.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    assert blocks
    names: dict[str, object] = {"__name__": "page"}
    with SIGNALS.temporary(), INTERVENTIONS.temporary(), FAMILIES.temporary():
        for block in blocks:
            line = text[: block.start(1)].count("\n")
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile("\n" * line + block[1], str(page), "exec"), names)
            if block[2] is not None:
                assert_same_output(printed.getvalue(), block[2])


def assert_same_output(printed: str, shown: str) -> None:
    """Texts that are the same but for the last digit of their numbers, which a machine may round otherwise."""
    assert _NUMBER.sub("N", printed.strip()) == _NUMBER.sub("N", shown.strip())
    for own, claimed in zip(_NUMBER.findall(printed), _NUMBER.findall(shown), strict=True):
        assert abs(float(own) - float(claimed)) <= 1.5 * 10.0 ** -len(claimed.split(".")[1])


def test_outputs_that_differ_are_found() -> None:
    assert_same_output("loses 5.01 nats of 16 keys\n", "loses 5.00 nats of 16 keys")
    for other in ("loses 5.00 nats of 17 keys", "loses 5.03 nats of 16 keys", "wins 5.01 nats of 16 keys"):
        with pytest.raises(AssertionError):
            assert_same_output("loses 5.01 nats of 16 keys", other)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_output_follows_a_block_that_runs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```text\n") == sum(block[2] is not None for block in _BLOCK.finditer(text))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_page_has_a_picture_and_short_lines_of_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert shown
    assert all((page.parent / path).is_file() for path in shown)
    code = re.findall(r"^```(?!text)\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [line for block in code for line in block.splitlines() if len(line) > _LONGEST] == []


@pytest.mark.parametrize("page", [HOME / "README.md", HOME / "docs" / "index.md"], ids=lambda page: page.name)
def test_the_first_screen_installs_and_shows(page: Path) -> None:
    start = page.read_text(encoding="utf-8").split("```python")[0]
    assert "pip install lvlmscope " in start
    assert "pip install -c constraints.txt -e ." in start
    assert "images/hero.png" in start
    assert len(start.splitlines()) < 20


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("page", [HOME / "README.md", HOME / "docs" / "index.md"], ids=lambda page: page.name)
def test_the_first_example_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(block, str(page), "exec"), {"__name__": "page"})
    assert (tmp_path / "case.html").is_file()


def test_there_is_a_page_for_every_task() -> None:
    index = (HOME / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(PAGES) >= 9
    assert all(f"howto/{page.name}" in index for page in PAGES)
