"""The documentation on a telephone: every page is read without scrolling sideways, its code too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import chromium

WIDTH = 400
WIDER = """(width) => [
    ...[...document.querySelectorAll("pre > code")].filter((each) => each.scrollWidth > each.clientWidth + 1)
        .map((each) => each.textContent.slice(0, 80)),
    ...(document.documentElement.scrollWidth > width ? ["the page"] : []),
]"""


@pytest.mark.slow
def test_no_page_and_no_code_is_wider_than_a_telephone(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(command, cwd=repository, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 50
    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        wider = {}
        for each in pages:
            page.goto(each.as_uri())
            if found := page.evaluate(WIDER, WIDTH):
                wider[each.relative_to(tmp_path).as_posix()] = found
    assert wider == {}
