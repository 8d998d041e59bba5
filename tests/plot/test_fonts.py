"""Texts in scripts that matplotlib's own font does not have."""

import os
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from lvlmscope.plot import compare, fonts, overlay, timeline
from lvlmscope.plot.figure_style import inscription, paper_style, wrapped
from tests.support.drawn_figures import texts_outside, with_answer, with_image

WORDS = ("猫", " แมว", " बिल्ली", " dog")


@pytest.fixture(autouse=True)
def own_font_only(monkeypatch: pytest.MonkeyPatch):
    """Whatever is installed on the machine."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", _of_matplotlib())
    caches = (fonts._family_with, fonts._installed)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def _of_matplotlib() -> list[font_manager.FontEntry]:
    return [font for font in font_manager.fontManager.ttflist if f"mpl-data{os.sep}" in font.fname]


@pytest.fixture
def cats(tmp_path: Path) -> str:
    """An installed font that has one character: 猫, a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((900, 0), (900, 800), (100, 800)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    builder.setupGlyf({".notdef": square, "cat": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 100), "cat": (1000, 100)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Cat Sans", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900, sTypoDescender=-100)
    builder.setupPost()
    path = tmp_path / "CatSans.ttf"
    builder.save(path)
    font_manager.fontManager.addfont(path)
    return "Cat Sans"


def _labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[-1].get_xticklabels()]


@pytest.mark.filterwarnings("error")
def test_a_figure_says_which_characters_no_installed_font_has():
    figure = timeline(with_answer(*WORDS))
    assert texts_outside(figure) == []
    assert _labels(figure)[0] == "□"
    assert figure.get_supxlabel().startswith("□: no installed font has U+732B, U+0E41, U+0E21, ")


@pytest.mark.filterwarnings("error")
def test_an_installed_font_draws_what_it_has(cats: str):
    figure = timeline(with_answer("猫", " dog"))
    assert texts_outside(figure) == []
    assert _labels(figure) == ["猫", "dog"]
    assert cats in figure.axes[-1].get_xticklabels()[0].get_fontfamily()
    assert figure.get_supxlabel() == ""


def test_the_callers_fonts_stay_and_its_figure_gets_the_note():
    import matplotlib as mpl

    before = list(mpl.rcParams["font.family"])
    figure = Figure()
    figure.supxlabel("my own")
    timeline(with_answer("a", " 犬"), ax=figure.subplots(2))
    assert mpl.rcParams["font.family"] == before
    assert figure.get_supxlabel() == "my own"
    assert [text.get_text() for text in figure.texts if "U+" in text.get_text()] == ["□: no installed font has U+72AC"]


def test_a_comparison_with_the_answers_in_its_heading_is_noted_once():
    figure = compare(with_answer("猫", " dog"), with_answer("猫", " cat"))
    assert figure.get_supxlabel() == "□: no installed font has U+732B"
    assert texts_outside(figure) == []


def test_a_figure_in_latin_letters_has_no_note():
    assert timeline(with_answer("A", " dog", " é")).get_supxlabel() == ""


def test_a_font_that_is_gone_draws_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fonts, "_installed", lambda: (("Gone", "/nowhere/gone.ttf"),))
    with paper_style():
        assert inscription("猫") == "□"
    assert inscription("猫") == "□"  # outside a figure the own font alone counts


def test_wide_characters_take_the_room_of_two():
    one, two = wrapped("a" * 40, inches=3.0), wrapped("猫" * 40, inches=3.0)
    assert 2 * len(two.splitlines()[0]) == pytest.approx(len(one.splitlines()[0]), abs=1)
    assert np.ptp([len(line) for line in two.splitlines()[:-1]]) == 0


@pytest.mark.parametrize("width", [3.6, 7.0])
@pytest.mark.parametrize("draw", [timeline, overlay])
def test_a_note_of_many_characters_stays_inside_and_touches_nothing(draw, width):
    words = [chr(0x1F642 + number) for number in range(14)]
    trace = with_image(with_answer(*(f" {word}" for word in words)))
    figure = draw(trace, words[:3], width=width) if draw is overlay else draw(trace, width=width)
    assert texts_outside(figure) == []
    renderer = figure.canvas.get_renderer()
    (note,) = (text for text in figure.findobj(Text) if "no installed font has U+1F642" in text.get_text())
    box = note.get_window_extent(renderer)
    for axes in figure.axes:
        assert not box.overlaps(axes.get_tightbbox(renderer))
