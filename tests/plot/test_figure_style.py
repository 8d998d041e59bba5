"""The look that all views share."""

import subprocess
import sys

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope import plot
from lvlmscope.diagnostics import planted_trace
from lvlmscope.palette import DIVERGING, GROUNDED, HALLUCINATED, SEQUENTIAL
from lvlmscope.plot.figure_style import inscription, thinned, wrapped
from lvlmscope.plot.fonts import glyph_notes


def luminance(colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_amounts_get_brighter_and_differences_are_palest_at_zero():
    steps = [luminance(mpl.colormaps[SEQUENTIAL](n / 20)) for n in range(21)]
    assert steps == sorted(steps)
    both = [luminance(mpl.colormaps[DIVERGING](n / 20)) for n in range(21)]
    assert both.index(max(both)) == 10


@pytest.mark.parametrize("colour", [GROUNDED, HALLUCINATED])
def test_word_labels_contrast_with_paper(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 3.0  # WCAG's bound for graphics and bold text


@given(st.integers(0, 5000), st.integers(1, 40))
def test_thinned_labels_fit_and_begin_at_the_first(count, most):
    chosen = thinned(count, most)
    assert len(chosen) <= most
    assert chosen[:1] == ([0] if count else [])


@given(st.text(max_size=300), st.floats(1.0, 12.0), st.integers(1, 5))
def test_wrapped_text_keeps_its_bounds(text, inches, lines):
    broken = wrapped(text, inches=inches, lines=lines).split("\n")
    assert len(broken) <= max(lines, 1)
    assert all(len(line) <= max(8, int(inches * 72 / 5.6)) for line in broken)


@given(st.text(max_size=40))
@settings(max_examples=25)
def test_any_text_can_be_drawn(text):
    figure = plot.heatmap(planted_trace(steps=1), title=inscription(text) and text)
    figure.canvas.draw()
    shown = figure.axes[0].get_title(loc="left") or figure.axes[0].get_title()
    with glyph_notes():  # as in the figure: fonts beside the own one give their glyphs
        expected = inscription(text)
    assert set(expected) - set(" .…") <= set(shown)


def test_settings_of_the_caller_are_left_alone():
    before = dict(mpl.rcParams)
    plot.timeline(planted_trace())
    assert dict(mpl.rcParams) == before


def test_importing_views_imports_no_drawing_library():
    code = "import sys, lvlmscope.plot; print(sorted({'matplotlib', 'plotly'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
