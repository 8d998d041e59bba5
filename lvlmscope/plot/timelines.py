"""``timeline``: signals over the words of an answer, with the hallucinated ones marked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import GROUNDED, HALLUCINATED, OTHER
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.data.signal_arrays import head_image_attention, word_means
from lvlmscope.plot.data.unit_labels import axis_label
from lvlmscope.plot.data.word_kinds import kinds_of_words
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.drawing.stacked_axes import given_axes, stacked_axes
from lvlmscope.plot.figure_style import WIDTH, paper_style
from lvlmscope.traces.labelled_arrays import coordinates
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["timeline"]

_MARKS: Final = {
    "hallucinated": (HALLUCINATED, "X", 62),
    "grounded": (GROUNDED, "o", 46),
    "other words": (OTHER, ".", 34),
}
_WIDE: Final = 4.5  # inches from which three entries of the legend fit beside each other
_SIGNALS: Final = (
    "labelled arrays: lv.image_attention_focus(trace), lv.layer_image_entropy(trace), lv.saliency_to_image(trace), "
    "lv.confidence(trace).sel(measure='entropy') and others of lvlmscope.diagnostics"
)
_LABEL_PITCH: Final = 0.155  # inches between two upright labels
_BESIDE: Final = 0.9  # inches beside the words: the vertical axis and margins
_MANY: Final = 150  # words, above which unmarked ones are a line without dots


@checked
@task("draw a timeline")
def timeline(
    trace: Trace,
    signals: "xr.DataArray | Sequence[xr.DataArray] | Mapping[str, xr.DataArray] | None" = None,
    *,
    hallucinated: Iterable[Any] = (),
    grounded: Iterable[Any] = (),
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | Sequence[Axes] | None" = None,
    width: float = WIDTH,
) -> Any:
    """Signals over the generated words, one below the other; a word's value is the mean over its tokens.

    Args:
        trace: Where the words come from.
        signals: Labelled arrays with a step axis (layers and heads are averaged over), or such arrays by title; None
            draws the next token's entropy and the attention on the image.
        hallucinated: Words to mark as hallucinated: texts, steps, (start, end) characters of the answer, or CHAIR's
            mentions.
        grounded: Words to mark as being in the image, likewise.
        backend: `"matplotlib"`, or `"plotly"`, which names the words on hover.
        ax: Axes to draw into, as many as signals; matplotlib only.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An empty answer, a mark outside it, an unknown backend, `ax` with plotly, or another number of
            axes than of signals.
        ShapeError: A signal without a step axis, or of another answer's length.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> figure = timeline(planted_trace(), hallucinated=[1])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['hallucinated', 'other words']
    """
    check_backend(backend, ax, several=True)
    words = words_of(trace)
    if not words:
        got, fix = "an empty answer", "trace an answer with words"
        raise ModelInputError(message(got, "one word or more", fix))
    rows = [(title, word_means(trace, words, array)) for title, array in _named(trace, signals)]
    kinds = kinds_of_words(trace, words, hallucinated=hallucinated, grounded=grounded)
    size = (width, 1.75 * len(rows) + 1.3)
    panels = _panels(rows, words, kinds, inches=_room(given_axes(ax, len(rows)), width))
    if backend == "plotly":
        return plotly_plots(panels, size=size)
    with paper_style(ax):
        places = stacked_axes(ax, len(panels), size, shared=True)
        for place, panel in zip(places, panels, strict=True):
            draw_plot(place, panel, width=width, up=1.5)
        _add_legend(places, kinds)
    return places[0].get_figure(root=True)


def _room(given: "list[Axes] | None", width: float) -> float:
    """Inches that labels of words have beside each other."""
    if given is None:
        return width - _BESIDE
    return float(given[-1].get_window_extent().width / given[-1].figure.dpi)


def _named(trace: Trace, signals: Any) -> list[tuple[str, xr.DataArray]]:
    if signals is None:
        entropy = xr.DataArray(
            trace.entropy.numpy(),
            dims=("step",),
            coords=coordinates(trace, "step"),
            attrs={"long_name": "next-token entropy", "units": "nats"},
        )
        signals = [entropy, head_image_attention(trace)] if bool(trace.image_keys.any()) else [entropy]
    if isinstance(signals, str):
        got, fix = f"the text {signals!r}", "leave signals out for the usual"
        raise ModelInputError(message(got, _SIGNALS, fix, task="draw a timeline"))
    if isinstance(signals, Mapping):
        named = list(signals.items())
    else:
        arrays = [signals] if isinstance(signals, xr.DataArray) else list(each_of("signals", signals, _SIGNALS))
        for array in arrays:
            require_kind("signals", array, xr.DataArray, _SIGNALS)
        named = [(axis_label(array), array) for array in arrays]
    if not named:
        raise ModelInputError(
            message("no signals", "one or more", "leave signals out for the usual", task="draw a timeline")
        )
    return named


def _panels(
    rows: Sequence[tuple[str, np.ndarray]], words: Sequence[Word], kinds: Sequence[str], *, inches: float
) -> list[PlotPanel]:
    """A plot for each signal; all have the words as ticks, and the last one their names."""
    spans = tuple((n - 0.5, n + 0.5, HALLUCINATED) for n, kind in enumerate(kinds) if kind == "hallucinated")
    shown = _labelled(kinds, pitch=max(1.0, _LABEL_PITCH * len(words) / max(inches, 0.1)))
    few = f" ({len(shown)} of {len(words)} labelled)" if len(shown) < len(words) else ""
    panels = []
    for number, (title, values) in enumerate(rows, 1):
        last, finite = number == len(rows), values[np.isfinite(values)]
        across = Axis(
            label=f"generated word{few}" if last else "",
            words=tuple(word.text for word in words),
            shown=shown,
            colours={n: _MARKS[kinds[n]][0] for n in shown if kinds[n] != "other words"},
            upright=True,
            silent=not last,
            low=-0.6,
            high=len(words) - 0.4,
        )
        positive = finite.size > 0 and finite.min() >= 0
        up = Axis(label=title, low=0.0, high=float(finite.max() * 1.12) or 1.0) if positive else Axis(label=title)
        series = tuple(_series(values, words, kinds))
        panels.append(PlotPanel(across=across, up=up, series=series, spans=spans, remark=_missing(values)))
    return panels


def _series(values: np.ndarray, words: Sequence[Word], kinds: Sequence[str]) -> Iterator[Series]:
    across = np.arange(len(values))
    called = tuple(word.text for word in words) if len(values) > _MANY else ()
    yield Series(x=across, y=values, colour=OTHER, dash="-", width=1.0, opacity=0.55, called=called)
    for kind, (colour, mark, size) in _MARKS.items():
        chosen = np.array([n for n, each in enumerate(kinds) if each == kind], dtype=int)
        if not chosen.size or (kind == "other words" and len(values) > _MANY):
            continue
        names = tuple(f"{words[n].text} (word {n})" for n in chosen)
        shape = {"colour": colour, "mark": mark, "size": size**0.5}
        yield Series(x=chosen, y=values[chosen], name=kind, called=names, **shape)


def _missing(values: np.ndarray) -> str:
    count = int((~np.isfinite(values)).sum())
    return f"not defined for {count} of {values.size} words" if count else ""


def _labelled(kinds: Sequence[str], *, pitch: float) -> tuple[int, ...]:
    """As many words as fit: marked words first, then others evenly."""
    rank = {"hallucinated": 0, "grounded": 1, "other words": 2}
    kept: list[int] = []
    for number in sorted(range(len(kinds)), key=lambda n: (rank[kinds[n]], n)):
        if all(abs(number - other) >= pitch for other in kept):
            kept.append(number)
    return tuple(sorted(kept))


def _add_legend(panels: Sequence["Axes"], kinds: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=colour, marker=mark, linestyle="", markersize=size**0.5, markeredgewidth=0, label=kind)
        for kind, (colour, mark, size) in _MARKS.items()
        if kind in kinds
    ]
    figure = panels[0].get_figure(root=True)
    if len(entries) > 1 and figure is not None:
        columns = 3 if figure.get_figwidth() >= _WIDE else 2
        figure.legend(handles=entries, loc="outside upper left", ncols=columns, frameon=False, handlelength=1.0)
