"""``windows``: what each word loses when attention is cut, by window of layers."""

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import OTHER, UNDEFINED
from lvlmscope.plot.data.unit_labels import counted, map_label, name_of
from lvlmscope.plot.drawing.plotly_figures import check_backend, plain, stacked_figure
from lvlmscope.plot.figure_style import WIDTH, inscription, is_narrow, mark_positions, new_figure, paper_style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["windows"]

_ACROSS: Final = "decoder layers cut (0 at the left)"
# Okabe and Ito's blue, vermilion, green and purple, each with a dash and a mark of its own
_LOOKS: Final = (
    ("#0072B2", "-", "solid"),
    ("#D55E00", "--", "dash"),
    ("#009E73", "-.", "dashdot"),
    ("#CC79A7", ":", "dot"),
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
    values = lost.transpose("word", "window").to_numpy().astype(float)
    text = title if title is not None else _heading(lost)
    named, others = _ranked(values)
    if backend == "plotly":
        drawn = _hovering(lost, values, named, others)
        rows = [(map_label(lost), drawn, text)]
        return stacked_figure(rows, across=_ACROSS, size=(width, _HEIGHT))
    with paper_style(ax):
        own = ax is None
        if ax is None:
            ax = new_figure(width, _HEIGHT + is_narrow(width)).subplots()
        _draw(ax, values, named, others, _words(lost))
        if own and is_narrow(width):
            ax.figure.legend(frameon=False, fontsize=9, ncols=2, loc="outside lower center")
        else:
            ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        ax.set_title(wrapped(inscription(text), inches=width * 0.8, points=10.5))
        ax.set_ylabel(wrapped(inscription(map_label(lost)), inches=2.2))
        ax.set_xlabel(_ACROSS)
        mark_positions(ax, "x", _labels(lost), most=max(2, int(width * 0.8 / 0.55)))
    return ax.get_figure(root=True)


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


def _draw(ax: "Axes", values: np.ndarray, named: list[int], others: list[int], words: list[str]) -> None:
    across = np.arange(values.shape[1])
    ax.axhline(0, color=OTHER, linewidth=0.8)
    for number, word in enumerate(others):
        label = counted(len(others), "other word") if number == 0 else None
        ax.plot(across, values[word], color=UNDEFINED, linewidth=1.0, label=label, zorder=1)
    for (colour, dash, _), word in zip(_LOOKS, named, strict=False):
        ax.plot(
            across, values[word], color=colour, linestyle=dash, marker="o", markersize=4, label=inscription(words[word])
        )
    ax.set_xlim(-0.5, len(across) - 0.5)


def _hovering(lost: xr.DataArray, values: np.ndarray, named: list[int], others: list[int]) -> list[Any]:
    import plotly.graph_objects as go

    looks = [(UNDEFINED, "solid")] * len(others) + [(colour, dash) for colour, _, dash in _LOOKS]
    labels, words = _labels(lost), _words(lost)
    lines = []
    for (colour, dash), word in zip(looks, [*others, *named], strict=False):
        name = plain(words[word])
        lines.append(
            go.Scatter(
                x=list(range(len(labels))),
                y=[float(value) if np.isfinite(value) else None for value in values[word]],
                customdata=labels,
                name=name,
                line={"color": colour, "dash": dash},
                hovertemplate=f"layers %{{customdata}}: %{{y:.4g}}<extra>{name}</extra>",
            )
        )
    return lines
