"""The reference documents every public name, and doctests appear there as examples."""

import importlib
import re
import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import lvlmscope

DOCS = Path(__file__).resolve().parents[2] / "docs"
_DIRECTIVE = re.compile(r"^::: ([\w.]+)\n(?:    options:\n      members: \[([^\]]*)\]\n)?", re.MULTILINE)
MODULES = [name for name in lvlmscope.__all__ if isinstance(getattr(lvlmscope, name), ModuleType)]


@cache
def documented() -> set[str]:
    """Full names that the directives put into the reference; a package shows what it exports, save its submodules."""
    found: set[str] = set()
    for page in (DOCS / "reference").glob("*.md"):
        for home, members in _DIRECTIVE.findall(page.read_text(encoding="utf-8") + "\n"):
            names = members.split(", ") if members else importlib.import_module(home).__all__
            found |= {home} | {f"{home}.{name}" for name in names if f"{home}.{name}" not in _submodules(home)}
    return found


def _submodules(home: str) -> set[str]:
    folder = Path(str(importlib.import_module(home).__file__))
    return {f"{home}.{one.stem}" for one in folder.parent.glob("*.py")} if folder.name == "__init__.py" else set()


def places(home: str, name: str, value: object) -> set[str]:
    return {f"{home}.{name}", f"{getattr(value, '__module__', home)}.{name}"}


@pytest.mark.parametrize("home", ["lvlmscope", *(f"lvlmscope.{name}" for name in MODULES)])
def test_every_public_name_is_in_the_reference(home: str) -> None:
    known, module = documented(), importlib.import_module(home)
    names = dir(lvlmscope) if module is lvlmscope else module.__all__
    packages = {package for package in known if package.count(".") == 1}
    missing = [
        name
        for name in names
        if name != "__version__"
        and not places(home, name, getattr(module, name)) & known
        and not any(f"{package}.{name}" in known for package in packages if module is lvlmscope)
    ]
    assert not missing


def test_every_directive_is_of_something_that_is_there() -> None:
    for full in documented():
        home, _, name = full.rpartition(".")
        assert not home or hasattr(importlib.import_module(home), name), full


def test_every_page_of_the_reference_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in (DOCS / "reference").glob("*.md") if f"reference/{page.name}" not in navigation] == []


@pytest.fixture(scope="module")
def with_headings() -> Callable[[str], str]:
    return runpy.run_path(str(DOCS / "studies" / "scripts" / "doctests_as_examples.py"))["with_headings"]


def test_bare_doctests_stand_under_one_heading(with_headings: Callable[[str], str]) -> None:
    assert with_headings("A sum.\n\n>>> 1 + 1\n2\n\n>>> 2 + 2\n4") == (
        "A sum.\n\nExamples:\n    >>> 1 + 1\n    2\n\n    >>> 2 + 2\n    4"
    )


def test_doctests_with_a_heading_stay_as_they_are(with_headings: Callable[[str], str]) -> None:
    text = "A sum.\n\nExamples:\n    >>> 1 + 1\n    2"
    assert with_headings(text) == text
