"""``timeline``: signals over the words of an answer, with the hallucinated ones marked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import GROUNDED, HALLUCINATED, OTHER
from lvlmscope.plot.data.signal_arrays import head_image_attention, word_means
from lvlmscope.plot.data.unit_labels import axis_label
from lvlmscope.plot.data.word_kinds import kinds_of_words
from lvlmscope.plot.drawing.plotly_figures import check_backend, plain, stacked_figure
from lvlmscope.plot.drawing.stacked_axes import stacked_axes
from lvlmscope.plot.figure_style import WIDTH, inscription, paper_style, wrapped
from lvlmscope.traces.formatting import shortened
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
_SYMBOLS: Final = {"hallucinated": "x", "grounded": "circle", "other words": "circle"}
_SIGNALS: Final = (
    "labelled arrays: lv.image_attention_focus(trace), lv.layer_image_entropy(trace), lv.saliency_to_image(trace), "
    "lv.confidence(trace).sel(measure='entropy') and others of lvlmscope.diagnostics"
)
_LABEL_PITCH: Final = 0.155  # inches between two upright labels
_LONGEST: Final = 18  # characters of a word's label
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
    if backend == "plotly":
        stacked = [(title, _hovering(values, words, kinds), _missing(values)) for title, values in rows]
        return stacked_figure(stacked, across="generated word", size=size)
    with paper_style(ax):
        panels = stacked_axes(ax, len(rows), size, shared=True)
        for panel, (title, values) in zip(panels, rows, strict=True):
            _draw(panel, values, kinds)
            panel.set_ylabel(wrapped(inscription(title), inches=1.5, points=10.0))
        _label_words(panels[-1], words, kinds)
        for panel in panels[:-1]:
            panel.tick_params(labelbottom=False)
        _add_legend(panels, kinds)
    return panels[0].get_figure(root=True)


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


def _draw(ax: "Axes", values: np.ndarray, kinds: Sequence[str]) -> None:
    across = np.arange(len(values))
    ax.plot(across, values, color=OTHER, linewidth=1.0, alpha=0.55, zorder=1)
    for kind, (colour, mark, size) in _MARKS.items():
        chosen = np.array([k == kind for k in kinds])
        if kind == "other words" and len(values) > _MANY:
            continue
        ax.scatter(across[chosen], values[chosen], color=colour, marker=mark, s=size, linewidths=0, zorder=3)
    hallucinated = [n for n, kind in enumerate(kinds) if kind == "hallucinated"]
    spans = [(n - 0.5, 1.0) for n in hallucinated]
    ax.broken_barh(
        spans, (0, 1), transform=ax.get_xaxis_transform(), color=HALLUCINATED, alpha=0.13, linewidth=0, zorder=0
    )
    ax.set_xlim(-0.6, len(values) - 0.4)
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() >= 0:
        ax.set_ylim(0, finite.max() * 1.12 or 1.0)
    if note := _missing(values):
        ax.text(0.995, 0.97, note, transform=ax.transAxes, ha="right", va="top", fontsize=9, color=OTHER)


def _missing(values: np.ndarray) -> str:
    count = int((~np.isfinite(values)).sum())
    return f"not defined for {count} of {values.size} words" if count else ""


def _hovering(values: np.ndarray, words: Sequence[Word], kinds: Sequence[str]) -> list[Any]:
    import plotly.graph_objects as go

    shown = [float(value) if np.isfinite(value) else None for value in values]
    grey = {"color": OTHER, "width": 1}
    drawn = [go.Scatter(x=list(range(len(shown))), y=shown, mode="lines", line=grey, opacity=0.55, hoverinfo="skip")]
    for kind, (colour, _, size) in _MARKS.items():
        chosen = [n for n, each in enumerate(kinds) if each == kind]
        if chosen:
            marker = {"color": colour, "symbol": _SYMBOLS[kind], "size": size**0.5 * 1.3}
            texts = [plain(words[n].text) for n in chosen]
            template = f"%{{text}} (word %{{x}}): %{{y:.4g}}<extra>{kind}</extra>"
            y = [shown[n] for n in chosen]
            options = {"mode": "markers", "marker": marker, "hovertemplate": template, "name": kind}
            drawn.append(go.Scatter(x=chosen, y=y, text=texts, **options))
    return drawn


def _label_words(ax: "Axes", words: Sequence[Word], kinds: Sequence[str]) -> None:
    """Upright words under the axis, as many as fit: marked words first, then others evenly."""
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    pitch = max(1.0, _LABEL_PITCH * len(words) / max(box.width, 0.1))
    rank = {"hallucinated": 0, "grounded": 1, "other words": 2}
    kept: list[int] = []
    for number in sorted(range(len(words)), key=lambda n: (rank[kinds[n]], n)):
        if all(abs(number - other) >= pitch for other in kept):
            kept.append(number)
    kept.sort()
    texts = [words[n].text for n in kept]
    texts = [inscription(shortened(text, _LONGEST)) for text in texts]
    ax.set_xticks(kept, texts, rotation=90)
    for label, number in zip(ax.get_xticklabels(), kept, strict=True):
        if kinds[number] != "other words":
            label.set_color(_MARKS[kinds[number]][0])
            label.set_fontweight("bold")
    ax.set_xlabel("generated word" + (f" ({len(kept)} of {len(words)} labelled)" if len(kept) < len(words) else ""))


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
