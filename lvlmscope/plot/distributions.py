"""``distribution``: a signal's values on grounded, hallucinated and other words."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.panels import Axis, PlotPanel, Quartiles, Series
from lvlmscope.plot.data.signal_arrays import head_image_attention, word_means
from lvlmscope.plot.data.unit_labels import axis_label, counted
from lvlmscope.plot.data.word_kinds import kinds_of_words
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.drawing.word_classes import COLOURS, MARKS, draw_classes
from lvlmscope.plot.figure_style import WIDTH, new_figure, paper_style
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
    panel = _panel(groups, values, [word.text for word in words], axis_label(signal))
    if backend == "plotly":
        return plotly_plots([panel], size=(width, 3.6))
    with paper_style(ax):
        ax = ax if ax is not None else new_figure(width, 3.6).subplots()
        draw_plot(ax, panel, width=width, up=2.8)
    return ax.get_figure(root=True)


def _panel(groups: dict[str, np.ndarray], values: np.ndarray, texts: list[str], label: str) -> PlotPanel:
    series, boxes = [], []
    for index, (kind, chosen) in enumerate(groups.items()):
        # A golden-ratio walk spreads the points evenly, and alike each time
        aside = (np.arange(len(chosen)) * 0.618034 % 1.0 - 0.5) * 0.5
        shape = {"colour": COLOURS[kind], "mark": MARKS[kind], "size": 6.0, "opacity": 0.75}
        called = tuple(f"{texts[n]} ({kind})" for n in chosen)
        series.append(Series(x=index + aside, y=values[chosen], called=called, **shape))  # type: ignore[arg-type]
        if len(chosen) > 1:
            low, middle, high = np.quantile(values[chosen], (0.25, 0.5, 0.75))
            boxes.append(
                Quartiles(x=float(index), low=float(low), middle=float(middle), high=float(high), colour=COLOURS[kind])
            )
    names = tuple(f"{kind}\n{counted(len(chosen), 'word')}" for kind, chosen in groups.items())
    missing = int((~np.isfinite(values)).sum())
    note = f"not defined for {missing} of {len(values)} words" if missing else ""
    nothing = missing == len(values)
    told, shown = "" if nothing else note, tuple(range(len(names)))
    across = Axis(label=told, words=names, shown=shown, low=-0.6, high=len(groups) - 0.4)
    up = Axis(label=label)
    centred = note if nothing else ""
    return PlotPanel(across=across, up=up, series=tuple(series), quartiles=tuple(boxes), centred=centred)
