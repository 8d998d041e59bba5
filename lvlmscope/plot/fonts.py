"""Fonts for characters that matplotlib's own font does not have, looked for among the installed ones."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MISSING", "OWN_FONT", "drawable", "glyph_notes", "take_notes"]

OWN_FONT: Final = "DejaVu Sans"  # ships with matplotlib: the same figure everywhere
MISSING: Final = "□"
_PLAIN: Final = ("normal", "regular", 400)
_NOT_ASKED: Final = (OWN_FONT, "Last Resort", "LastResort")  # the latter have a box for every character
_NOTED: Final = 12  # characters that a note names
_NOTE_POINTS: Final = 8.0
_COLUMNS_PER_INCH: Final = 13.0  # of a note's characters, on average and with a margin
_LINE_HEIGHT: Final = 0.15  # inches, as the next
_MARGIN: Final = 0.04


class _Noted:
    """The figures being drawn, fonts that they need beside the own one, and characters that none has."""

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}
        self.families: dict[str, None] = {}
        self.figures: dict[int, tuple[Figure, bool]] = {}


_NOTED_NOW: ContextVar["_Noted | None"] = ContextVar("noted", default=None)


def drawable(text: str) -> str:
    """A text in which each character that no font can draw is a box.

    While a figure is drawn (`glyph_notes`) installed fonts are looked through for what the own font does not have;
    elsewhere the own font alone counts.

    Args:
        text: Anything.

    Examples:
        >>> drawable("dog \U0001f642")
        'dog □'
    """
    own = _glyphs(_own_path())
    return text if all(ord(c) in own for c in text) else "".join(c if ord(c) in own else _otherwise(c) for c in text)


@contextmanager
def glyph_notes() -> Iterator[None]:
    """Gives the figures drawn inside (`take_notes`) the fonts they need, and notes what no installed font has.

    Yields:
        Nothing.
    """
    if _NOTED_NOW.get() is not None:
        yield
        return
    noted = _Noted()
    token = _NOTED_NOW.set(noted)
    try:
        yield
    finally:
        _NOTED_NOW.reset(token)
    for figure, own in noted.figures.values():
        if noted.families:
            _add_families(figure, list(noted.families))
        if noted.missing:
            _write(figure, list(noted.missing), own=own)


def take_notes(figure: "Figure", *, own: bool) -> None:
    """Has a figure served by the `glyph_notes` around.

    Args:
        figure: A figure that is being drawn.
        own: It is a new one, which may grow for a note; the caller's keep their size.
    """
    noted = _NOTED_NOW.get()
    if noted is not None:
        noted.figures[id(figure)] = (figure, own)


def _add_families(figure: "Figure", families: list[str]) -> None:
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):  # ticks take their labels when they are drawn
            own = axis.get_major_ticks(1)[0].label1.get_fontfamily()
            axis.set_tick_params(labelfontfamily=[*own, *families])
    for text in figure.findobj(Text):
        text.set_fontfamily([*text.get_fontfamily(), *families])


def _write(figure: "Figure", missing: list[str], *, own: bool) -> None:
    """The note at the foot of a figure, in lines that fit its width."""
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    codes = ", ".join(f"U+{ord(character):04X}" for character in missing[:_NOTED])
    note = f"{MISSING}: no installed font has {codes}{', ...' if len(missing) > _NOTED else ''}"
    columns = int(figure.get_figwidth() * _COLUMNS_PER_INCH)
    note = "\n".join(textwrap.wrap(note, max(columns, 20)))
    if own and isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine | None):  # nothing else moves the axes up
        _add_foot(figure, (note.count("\n") + 1) * _LINE_HEIGHT)
        figure.text(0.01, _MARGIN / figure.get_figheight(), note, fontsize=_NOTE_POINTS, va="bottom")
        return
    if figure.get_supxlabel():  # the caller's own
        figure.text(0.01, 0.005, note, fontsize=_NOTE_POINTS, va="bottom")
    else:
        figure.supxlabel(note, x=0.01, ha="left", multialignment="left", fontsize=_NOTE_POINTS)


def _add_foot(figure: "Figure", inches: float) -> None:
    """Makes a figure taller at its foot; what is in it keeps its size."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)
    for axes in figure.axes:
        left, bottom, wide, high = axes.get_position(original=True).bounds
        shift = [left, (bottom * height + inches) / (height + inches), wide, high * height / (height + inches)]
        axes.set_position((shift[0], shift[1], shift[2], shift[3]))


def _otherwise(character: str) -> str:
    noted = _NOTED_NOW.get()
    if noted is None:
        return MISSING
    family = _family_with(character)
    if family is None:
        noted.missing[character] = None
        return MISSING
    noted.families[family] = None
    return character


@cache
def _family_with(character: str) -> str | None:
    """The first installed family that has a character; upright sans-serif ones come first."""
    return next((family for family, path in _installed() if ord(character) in _glyphs(path)), None)


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Families beside the own one, each with the file that matplotlib takes for its regular style."""
    from matplotlib.font_manager import fontManager

    plain = [font for font in fontManager.ttflist if font.style == "normal" and font.weight in _PLAIN]
    files = {font.name: font.fname for font in plain if not font.name.startswith(_NOT_ASKED)}
    return tuple(sorted(files.items(), key=lambda item: ("Sans" not in item[0], item[0])))


@cache
def _glyphs(path: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # removed since matplotlib listed it, or damaged: it draws nothing
        return frozenset()


@cache
def _own_path() -> str:
    from matplotlib.font_manager import findfont

    return str(findfont(OWN_FONT))
