"""The gallery's page, scripts and images belong together, and a script draws what its name says."""

import re
import runpy
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[2] / "docs/gallery"


def test_the_page_shows_every_script_and_image():
    page = GALLERY.with_suffix(".md").read_text()
    scripts = {path.name for path in GALLERY.glob("*.py")} - {"make.py"}
    assert set(re.findall(r'--8<-- "docs/gallery/(\w+\.py)"', page)) == scripts
    images = {path.name: path.stat().st_size for path in (GALLERY / "images").iterdir()}
    assert set(re.findall(r"gallery/images/(\w+\.png)", page)) == set(images)
    assert sum(images.values()) < 1_000_000


def test_every_view_is_in_the_gallery():
    from lvlmscope import plot

    text = "".join(path.read_text() for path in GALLERY.glob("*.py"))
    assert [name for name in plot.__all__ if name.islower() and f"lv.plot.{name}(" not in text] == [
        "find_word",
        "words_of",
    ]


@pytest.mark.parametrize("name", ["overlay_head"])
def test_a_script_writes_its_figure(name, tmp_path, capsys):
    runpy.run_path(str(GALLERY / "make.py"))["main"]([name], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
    assert capsys.readouterr().out == f"{name}: {name}.png\n"
