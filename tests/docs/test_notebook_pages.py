"""Notebooks are pages of the site: text, code, outputs and images, each in the navigation."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def pages_of() -> Callable[[Path], dict[str, str | bytes]]:
    found: Any = runpy.run_path(str(HOME / "docs" / "hooks" / "notebook_pages.py"))["pages_of"]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_has_all_that_the_notebook_has(path: Path, pages_of: Callable[[Path], dict[str, str | bytes]]) -> None:
    pages = pages_of(path)
    page = str(pages[f"{path.stem}.md"])
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        text = "".join(cell["source"]).replace("](../docs/", "](../").rstrip()
        assert text in page
    shown = set(re.findall(rf"\(({path.stem}_\d+\.\w+)\)", page))
    assert shown == set(pages) - {f"{path.stem}.md"}
    images = [output for cell in cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
    assert len(shown) >= len(images)
    assert {pages[name][:1] for name in shown} <= {b"\x89", b"\xff"}  # as PNG and JPEG files begin
    assert page.startswith("# ")


def test_every_notebook_is_in_the_navigation() -> None:
    navigation = (HOME / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) >= 7
    assert [path.stem for path in NOTEBOOKS if f"notebooks/{path.stem}.md" not in navigation] == []


def test_widgets_leave_no_text_and_colours_are_gone(
    pages_of: Callable[[Path], dict[str, str | bytes]], tmp_path: Path
) -> None:
    widget = {"data": {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Explorer()"}}
    outputs = [widget, {"name": "stdout", "text": ["a \x1b[31mred\x1b[0m word\n"]}]
    cells = [{"cell_type": "code", "source": ["x = 1\n"], "outputs": outputs}]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert pages_of(tmp_path / "a.ipynb") == {"a.md": "```python\nx = 1\n```\n\n```text\na red word\n```\n"}


def test_errors_come_last_in_the_navigation() -> None:
    navigation = (HOME / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    sections = re.findall(r"^  - ([^:\n]+):", navigation, re.MULTILINE)
    assert sections[0] == "Home"
    assert sections[-1] == "Errors"
