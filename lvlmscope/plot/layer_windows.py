"""``windows``: what each word loses when attention is cut, by window of layers."""

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import UNDEFINED
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.data.unit_labels import counted, map_label, name_of
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.figure_style import WIDTH, is_narrow, new_figure, paper_style, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["windows"]

_ACROSS: Final = "decoder layers cut (0 at the left)"
# Okabe and Ito's blue, vermilion, green and purple, each with a dash and a mark of its own
_LOOKS: Final = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
)
_HEIGHT: Final = 2.9


@checked
@task("draw a knockout")
def windows(
    lost: xr.DataArray,
    *,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    title: str | None = None,
    width: float = WIDTH,
) -> Any:
    """Log-probability that words lose by window of layers: a line for each word, 0 where nothing is lost.

    The four words that change most have a colour each; the others are grey lines. A word that stands in the answer more
    than once has its step beside it.

    Args:
        lost: What `lvlmscope.knockout` gives: dims window and word.
        backend: `"matplotlib"`, or `"plotly"` with hover.
        ax: Axes to draw into; matplotlib only.
        title: Over the figure; None for what was cut.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An unknown backend, or `ax` with plotly.
        ShapeError: Other dims than window and word, or an empty one.

    Examples:
        >>> named = {"window": ["0-1", "1-2"], "word": ["knife"]}
        >>> lost = xr.DataArray([[2.0], [0.5]], dims=("window", "word"), coords=named)
        >>> windows(lost).axes[0].get_xlabel()
        'decoder layers cut (0 at the left)'
    """
    check_backend(backend, ax)
    require_kind("lost", lost, xr.DataArray, "what lv.knockout gives")
    if set(lost.dims) != {"window", "word"} or 0 in lost.sizes.values():
        got, expected = f"dims {dict(lost.sizes)}", "dims window and word, none empty"
        raise ShapeError(message(got, expected, "pass what lv.knockout gives"))
    panel = _panel(lost, title if title is not None else _heading(lost), width)
    if backend == "plotly":
        return plotly_plots([panel], size=(width, _HEIGHT), least=1)
    with paper_style(ax):
        own = ax is None
        if ax is None:
            ax = new_figure(width, _HEIGHT + is_narrow(width)).subplots()
        draw_plot(ax, panel, width=width, up=2.2)
        if own and is_narrow(width):
            ax.figure.legend(frameon=False, fontsize=9, ncols=2, loc="outside lower center")
        else:
            ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax.get_figure(root=True)


def _panel(lost: xr.DataArray, title: str, width: float) -> PlotPanel:
    """A line for each word; the grey ones share one name."""
    values = lost.transpose("word", "window").to_numpy().astype(float)
    (named, others), labels, words = _ranked(values), _labels(lost), _words(lost)
    x, shape = np.arange(len(labels)), {"mark": "o"}
    grey = counted(len(others), "other word")
    series = [
        Series(
            x=x,
            y=values[word],
            name=grey,
            colour=UNDEFINED,
            dash="-",
            width=1.0,
            called=tuple(f"{words[word]}, layers {label}" for label in labels),
        )
        for word in others
    ]
    for (colour, dash), word in zip(_LOOKS, named, strict=False):
        called = tuple(f"layers {label}" for label in labels)
        look = {"colour": colour, "dash": dash, **shape}
        series.append(Series(x=x, y=values[word], name=words[word], called=called, **look))  # type: ignore[arg-type]
    shown = tuple(thinned(len(labels), max(2, int(width * 0.8 / 0.55))))
    across = Axis(label=_ACROSS, words=tuple(labels), shown=shown, low=-0.5, high=len(labels) - 0.5)
    return PlotPanel(across=across, up=Axis(label=map_label(lost)), series=tuple(series), title=title, level=0.0)


def _heading(lost: xr.DataArray) -> str:
    source, rows = lost.attrs.get("from_"), lost.attrs.get("to")
    return f"attention cut: keys {source!r}, rows {rows!r}" if source and rows else name_of(lost)


def _labels(lost: xr.DataArray) -> list[str]:
    return (
        [str(name) for name in lost.window.values]
        if "window" in lost.coords
        else list(map(str, range(lost.sizes["window"])))
    )


def _words(lost: xr.DataArray) -> list[str]:
    """Names of the words; those that stand in the answer more than once have their step beside them."""
    words = [str(word) for word in lost.word.values]
    steps = lost.coords["first_step"].values if "first_step" in lost.coords else range(len(words))
    return [f"{word} ({step})" if words.count(word) > 1 else word for word, step in zip(words, steps, strict=True)]


def _ranked(values: np.ndarray) -> tuple[list[int], list[int]]:
    """Words that change most, in the order of the answer, and the others."""
    change = np.nan_to_num(np.abs(values), posinf=np.inf).max(1)
    top = sorted(np.argsort(-change, kind="stable")[: len(_LOOKS)].tolist())
    return top, [word for word in range(len(values)) if word not in top]
