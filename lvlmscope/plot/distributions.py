"""``distribution``: a signal's values on grounded, hallucinated and other words."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.signal_arrays import head_image_attention, word_means
from lvlmscope.plot.data.unit_labels import axis_label, counted
from lvlmscope.plot.data.word_kinds import kinds_of_words
from lvlmscope.plot.drawing.plotly_figures import check_backend, plain, plotly_figure
from lvlmscope.plot.drawing.word_classes import COLOURS, MARKS, draw_classes
from lvlmscope.plot.figure_style import (
    WIDTH,
    add_note,
    inscription,
    new_figure,
    paper_style,
    wrapped,
)
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["distribution"]


@checked
@task("draw a distribution")
def distribution(
    trace: Trace | xr.Dataset,
    signal: xr.DataArray | None = None,
    *,
    hallucinated: Iterable[Any] = (),
    grounded: Iterable[Any] = (),
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    width: float = WIDTH * 0.75,
) -> Any:
    r"""A signal's values by class of word, each word a point, with the quartiles of each class.

    A word's value is the mean over its tokens, layers and heads. One answer has few words of each class: a
    difference seen here may not hold over many answers. Of what `lvlmscope.aggregate` gives by word, it shows each
    class's mean over many traces with its confidence interval.

    Args:
        trace: Where the words come from; or an aggregate by word, which needs no more.
        signal: A labelled array with a step axis; None for a trace's attention on the image.
        hallucinated: Words that are hallucinated, as in `timeline`.
        grounded: Words that are in the image, likewise.
        backend: `"matplotlib"`, or `"plotly"`, which names the words on hover.
        ax: Axes to draw into; matplotlib only.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An empty answer, a mark outside it, an unknown backend, `ax` with plotly, or an aggregate with
            a signal or marks.
        ShapeError: A signal without a step axis, or of another answer's length; an aggregate not by word alone.

    Examples:
        >>> import xarray as xr
        >>> from lvlmscope.diagnostics import planted_trace
        >>> figure = distribution(planted_trace(), xr.DataArray([1.0, 2.0, 3.0], dims="step"), hallucinated=[1])
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['hallucinated\n1 word', 'other words\n2 words']
    """
    check_backend(backend, ax)
    if isinstance(trace, xr.Dataset):
        if signal is not None or hallucinated != () or grounded != ():
            got, fix = "an aggregate and signal=, hallucinated= or grounded=", "leave these out: it has its own"
            raise ModelInputError(message(got, "an aggregate by word alone", fix))
        return draw_classes(trace, backend, ax, width)
    signal = signal if signal is not None else head_image_attention(trace)
    words = words_of(trace)
    if not words:
        raise ModelInputError(message("an empty answer", "one word or more", "trace an answer with words"))
    values = word_means(trace, words, signal)
    kinds = np.array(kinds_of_words(trace, words, hallucinated=hallucinated, grounded=grounded), dtype=object)
    defined = np.isfinite(values)
    groups = {kind: np.flatnonzero((kinds == kind) & defined) for kind in COLOURS if (kinds == kind).any()}
    label = axis_label(signal)
    missing = int((~defined).sum())
    note = f"not defined for {missing} of {len(words)} words" if missing else ""
    if backend == "plotly":
        return _interactive(groups, values, [word.text for word in words], (label, note, width))
    with paper_style(ax):
        ax = ax if ax is not None else new_figure(width, 3.6).subplots()
        _draw(ax, groups, values)
        ax.set_ylabel(wrapped(inscription(label), inches=2.8))
        if note:
            add_note(ax, note, centred=missing == len(words))
    return ax.get_figure(root=True)


def _draw(ax: "Axes", groups: dict[str, np.ndarray], values: np.ndarray) -> None:
    for index, (kind, chosen) in enumerate(groups.items()):
        inside = values[chosen]
        # A golden-ratio walk spreads the points evenly, and alike each time
        aside = (np.arange(len(chosen)) * 0.618034 % 1.0 - 0.5) * 0.5
        options: dict[str, Any] = {"color": COLOURS[kind], "marker": MARKS[kind], "linewidths": 0, "alpha": 0.75}
        ax.scatter(index + aside, inside, s=36, zorder=3, **options)
        if len(inside) > 1:
            low, middle, high = np.quantile(inside, (0.25, 0.5, 0.75))
            ax.bar(index, high - low, bottom=low, width=0.7, color=COLOURS[kind], alpha=0.18)
            ax.hlines(middle, index - 0.35, index + 0.35, color=COLOURS[kind], linewidth=2)
    names = [f"{kind}\n{counted(len(chosen), 'word')}" for kind, chosen in groups.items()]
    ax.set_xticks(range(len(groups)), names)
    ax.set_xlim(-0.6, len(groups) - 0.4)


def _interactive(
    groups: dict[str, np.ndarray], values: np.ndarray, texts: list[str], labels: tuple[str, str, float]
) -> Any:
    import plotly.graph_objects as go

    label, note, width = labels
    boxes = [
        go.Box(
            y=values[chosen].tolist(),
            name=kind,
            text=[plain(texts[n]) for n in chosen],
            boxpoints="all",
            marker_color=COLOURS[kind],
            hovertemplate="%{text}: %{y:.4g}<extra></extra>",
        )
        for kind, chosen in groups.items()
    ]
    figure = plotly_figure(boxes, title=label, across=note, up=label, size=(width, 3.6))
    figure.update_layout(showlegend=False)
    return figure
