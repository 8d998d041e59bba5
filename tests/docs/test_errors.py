"""A page for every error: in the navigation, and its blocks raise the messages that it shows."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvlmscope import errors

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMES = [name for name in errors.__all__ if name.endswith("Error")]
_SHOWN = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def start() -> Callable[[], dict[str, Any]]:
    """The names that every page starts from, made by the block of the index."""
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", (DOCS / "errors" / "index.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(block, names)
    return lambda: dict(names)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_an_error_shows_what_is_raised(
    name: str, start: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "anywidget", None)  # as where the extra is not installed
    names = start()
    found = _SHOWN.findall((DOCS / "errors" / f"{name}.md").read_text("utf-8"))
    assert found
    for block, shown in found:
        with pytest.raises(getattr(errors, name)) as caught:
            exec(block, names)
        assert str(caught.value) == shown


def test_every_error_is_in_the_navigation_and_the_index() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text("utf-8")
    index = (DOCS / "errors" / "index.md").read_text("utf-8")
    assert {page.stem for page in (DOCS / "errors").glob("*.md")} == {*NAMES, "index"}
    assert [name for name in NAMES if f"errors/{name}.md" not in navigation or f"({name}.md)" not in index] == []
