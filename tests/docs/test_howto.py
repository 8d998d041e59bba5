"""The how-to pages do what they say: their `python` blocks run, page by page (`py` blocks need what is not here)."""

import re
from pathlib import Path

import pytest

from lvlmscope.interventions.registry import INTERVENTIONS
from lvlmscope.models.families import FAMILIES
from lvlmscope.traces.word_signals import SIGNALS

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "howto").glob("*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("unchecked_shapes")  # as a reader runs them
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    assert blocks
    names: dict[str, object] = {"__name__": "page"}
    with SIGNALS.temporary(), INTERVENTIONS.temporary(), FAMILIES.temporary():
        for block in blocks:
            line = text[: block.start(1)].count("\n")
            exec(compile("\n" * line + block[1], str(page), "exec"), names)


def test_there_is_a_page_for_every_task() -> None:
    index = (PAGES[0].parents[2] / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(PAGES) >= 9
    assert all(f"howto/{page.name}" in index for page in PAGES)
