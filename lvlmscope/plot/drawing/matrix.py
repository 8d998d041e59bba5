"""A matrix of labelled cells in either backend."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.data.colour_scale import Scale
from lvlmscope.plot.data.unit_labels import name_of
from lvlmscope.plot.drawing.plotly_figures import hover_map
from lvlmscope.plot.figure_style import add_note, inscription, is_narrow, new_figure, paper_style, thinned, wrapped
from lvlmscope.traces.formatting import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["draw_matrix", "heading_of", "write_numbers"]

_LONGEST: Final = 14  # characters of a label
_PITCH: Final = 0.17  # inches between two labels


def heading_of(values: xr.DataArray, averaged: str) -> str:
    """The quantity, and what it was averaged over."""
    name = name_of(values)
    return f"{name[:1].upper()}{name[1:]}" + (f", {averaged}" if averaged else "")


def draw_matrix(
    shown: tuple[np.ndarray, Scale],
    names: tuple[Sequence[Any], Sequence[Any]],
    called: tuple[str, str],
    texts: dict[str, str],
    canvas: "tuple[str, Axes | None, float, float]",
    *,
    kept: Sequence[int] = (),
) -> Any:
    """One map in either backend.

    Args:
        shown: Values ``[row, column]``, and their scale.
        names: Of the rows and of the columns.
        called: What a row and a column are.
        texts: `title`, `across` and `up` of the axes, and the colour bar's `label`.
        canvas: Backend, axes, width, and height as a share of it; 0 goes by the rows and puts the first at the top.
        kept: Columns that are labelled however many there are.

    Returns:
        The matplotlib or plotly figure.
    """
    (values, scale), (backend, ax, width, tall) = shown, canvas
    label, note = texts.pop("label"), _note(values, words=_are_words(names[0]))
    height = width * tall if tall else float(min(max(0.2 * len(values) + 1.9, 2.9), 9.5))
    upside_down = not tall
    if backend == "plotly":
        texts["across"] += f"\n{note}" if note else ""
        options: dict[str, Any] = {"label": label, "size": (width, height), **texts}
        figure = hover_map(values, scale, names=names, called=called, **options)
        figure.layout.yaxis.autorange = "reversed" if upside_down else True
        return figure
    with paper_style(ax):
        ax = ax if ax is not None else new_figure(width, height + is_narrow(width)).subplots()
        _draw_cells(ax, values, scale, names, upside_down=upside_down, kept=kept)
        ax.set_xlabel(texts["across"])
        ax.set_ylabel(texts["up"])
        ax.set_title(wrapped(inscription(texts["title"]), inches=width * 0.75, points=10.5))
        if note:
            add_note(ax, note, centred=not np.isfinite(values).any())
        bar = ax.figure.colorbar(ax.images[0], ax=ax, location="bottom" if is_narrow(width) else "right")
        long = width if is_narrow(width) else height
        bar.set_label(wrapped(inscription(label), inches=max(long - 1.6, 1.4)))
    return ax.get_figure(root=True)


def _note(values: np.ndarray, *, words: bool) -> str:
    """What a reader must know about cells without a value; empty when there are none."""
    missing = int((~np.isfinite(values)).sum())
    if missing == values.size:
        return "not defined anywhere"
    grey = "grey: not defined, or not yet written" if words else "grey: not defined"
    return f"{grey} ({missing} of {values.size} cells)" if missing else ""


def _draw_cells(
    ax: "Axes",
    values: np.ndarray,
    scale: Scale,
    names: tuple[Sequence[Any], Sequence[Any]],
    *,
    upside_down: bool,
    kept: Sequence[int],
) -> None:
    import matplotlib as mpl

    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    origin: Literal["upper", "lower"] = "upper" if upside_down else "lower"
    cells = np.ma.masked_invalid(values)
    limits: dict[str, Any] = {"vmin": scale.low, "vmax": scale.high, "aspect": "auto", "interpolation": "nearest"}
    ax.imshow(cells, cmap=colours, origin=origin, **limits)
    ax.spines[:].set_visible(False)
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    for along, inches, labels in (("y", box.height, names[0]), ("x", box.width, names[1])):
        # The colour bar and long labels take their room after this
        most = max(2, int(inches * 0.72 / _PITCH))
        chosen = thinned(len(labels), most)
        if along == "x" and kept:
            apart = len(labels) / most
            chosen = sorted({*kept, *(n for n in chosen if all(abs(n - one) >= apart for one in kept))})
        texts = [_short(labels[n]) for n in chosen]
        if along == "y":
            ax.set_yticks(chosen, texts)
        else:
            ax.set_xticks(chosen, texts, rotation=90 if _are_words(labels) else 0)


def _are_words(labels: Sequence[Any]) -> bool:
    return any(isinstance(label, str) for label in labels)


def _short(label: Any) -> str:
    return inscription(shortened(str(label), _LONGEST))


_SMALLEST, _LARGEST = 5.0, 9.0  # points
_GLYPH_WIDTH, _GLYPH_HEIGHT = 0.64, 1.35  # of the font size: digits, and a line


def write_numbers(ax: "Axes", drawn: "AxesImage", values: np.ndarray) -> None:
    """Writes each defined cell's value; says so where the cells are too small for it.

    Args:
        ax: Where.
        drawn: The map, for its colours: numbers are white on dark ones, black on bright ones.
        values: ``[row, column]``; those of the map itself or others.
    """
    figure = ax.get_figure(root=True)
    finite = values[np.isfinite(values)]
    if figure is None or not finite.size:
        return
    figure.draw_without_rendering()  # the layout gives the axes their size only now
    most = float(np.abs(finite).max())
    decimals = int(min(max(0, 1 - np.floor(np.log10(most))), 4)) if most else 0
    longest = max(len(f"{value:.{decimals}f}") for value in finite)
    box = ax.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    wide, high = 72 * box.width / values.shape[1], 72 * box.height / values.shape[0]
    points = min(wide / (longest * _GLYPH_WIDTH), high / _GLYPH_HEIGHT, _LARGEST)
    if points < _SMALLEST:
        add_note(ax, "no numbers: the cells are too small for them at this width")
        return
    under: np.ndarray = np.ma.filled(np.ma.asarray(drawn.get_array(), dtype=float), 0.0)
    colours = np.asarray(drawn.cmap(drawn.norm(np.where(np.isfinite(under), under, 0.0))))
    shades = colours[..., :3] @ np.array([0.3, 0.59, 0.11])
    for row, column in np.argwhere(np.isfinite(values)):
        colour = "black" if shades[row, column] > 0.5 else "white"
        text = f"{values[row, column]:.{decimals}f}"
        ax.text(column, row, text, ha="center", va="center", fontsize=points, color=colour)
