"""Fonts for characters that matplotlib's own font does not have, looked for among the installed ones."""

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


class _Noted:
    """The figures being drawn, fonts that they need beside the own one, and characters that none has."""

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}
        self.families: dict[str, None] = {}
        self.figures: list[Figure] = []


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
    for figure in {id(figure): figure for figure in noted.figures}.values():
        if noted.families:
            _add_families(figure, list(noted.families))
        if noted.missing:
            _write(figure, list(noted.missing))


def take_notes(figure: "Figure") -> None:
    """Has a figure served by the `glyph_notes` around.

    Args:
        figure: A figure that is being drawn.
    """
    noted = _NOTED_NOW.get()
    if noted is not None:
        noted.figures.append(figure)


def _add_families(figure: "Figure", families: list[str]) -> None:
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):  # ticks take their labels when they are drawn
            own = axis.get_major_ticks(1)[0].label1.get_fontfamily()
            axis.set_tick_params(labelfontfamily=[*own, *families])
    for text in figure.findobj(Text):
        text.set_fontfamily([*text.get_fontfamily(), *families])


def _write(figure: "Figure", missing: list[str]) -> None:
    codes = ", ".join(f"U+{ord(character):04X}" for character in missing[:_NOTED])
    note = f"{MISSING}: no installed font has {codes}{', ...' if len(missing) > _NOTED else ''}"
    if figure.get_supxlabel():  # the caller's own
        figure.text(0.01, 0.005, note, fontsize=8)
    else:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8)


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
