"""``layers``: signals over depth, with their spread over steps and heads, or their interval over many traces."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.layer_lines import Lines, lines_of
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.data.unit_labels import axis_label
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.drawing.stacked_axes import stacked_axes
from lvlmscope.plot.figure_style import WIDTH, paper_style, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["layers"]

_ACROSS: Final = "decoder layer (0 at the left)"
Signal = xr.DataArray | xr.Dataset
_SIGNALS: Final = "labelled arrays with a layer axis, or what aggregate gives"
_MANY: Final = 40  # layers, above which they are a line without dots


@checked
@task("draw signals over layers")
def layers(
    signals: "Signal | Sequence[Signal] | Mapping[str, Signal]",
    *,
    names: Sequence[str] | None = None,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | Sequence[Axes] | None" = None,
    width: float = WIDTH,
) -> Any:
    """Signals over depth, one below the other, each with a band that the figure explains.

    Of a labelled array: the mean, and one standard deviation over all other axes. Of what `lvlmscope.aggregate` gives
    by layer: the mean over traces, and its confidence interval. An axis of names gives a line for each name: `anchor`
    of `anchor_correlation`, `word` of an aggregate by layer and word.

    Args:
        signals: Labelled arrays with a layer axis, or aggregates by layer, or such by title.
        names: What each of a list of signals is of, such as a prompt or a model; each stands before its quantity.
        backend: `"matplotlib"`, or `"plotly"` with hover.
        ax: Axes to draw into, as many as signals; matplotlib only.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: No signals, names of another number or for signals by title, an unknown backend, `ax` with
            plotly, or another number of axes.
        ShapeError: A signal without a layer axis, or with an empty one; an aggregate by head.

    Examples:
        >>> from lvlmscope.diagnostics import layer_image_entropy, planted_trace
        >>> layers(layer_image_entropy(planted_trace())).axes[0].get_xlabel()
        'decoder layer (0 at the left)'
    """
    check_backend(backend, ax, several=True)
    rows = [(title, lines_of(signal)) for title, signal in _named(signals, names)]
    size = (width, 2.1 * len(rows) + 0.7)
    panels = [_panel(title, lines, width, last=n == len(rows)) for n, (title, lines) in enumerate(rows, 1)]
    if backend == "plotly":
        return plotly_plots(panels, size=size)
    with paper_style(ax):
        places = stacked_axes(ax, len(panels), size, shared=False)
        for place, panel in zip(places, panels, strict=True):
            draw_plot(place, panel, width=width)
            if len(panel.series) > 1:
                place.legend(framealpha=0.8, edgecolor="none", fontsize=9, ncols=min(len(panel.series), 4))
    return places[0].get_figure(root=True)


def _named(signals: Any, names: Sequence[str] | None) -> list[tuple[str, Any]]:
    by_title = isinstance(signals, Mapping) and not isinstance(signals, xr.Dataset)
    several = [signals] if isinstance(signals, Signal) else each_of("signals", signals, _SIGNALS)
    each = list(signals.values() if by_title else several)
    for signal in each:
        require_kind("signals", signal, (xr.DataArray, xr.Dataset), _SIGNALS)
    if by_title:
        named = list(signals.items())
        if names is not None:
            raise ModelInputError(message("names= for signals by title", "a list of signals", "leave names= out"))
    else:
        named = [(axis_label(s), s) for s in each]
        if names is not None:
            if len(names) != len(named):
                got, fix = f"{len(names)} names for {len(named)} signals", "give each signal a name"
                raise ModelInputError(message(got, "as many names as signals", fix))
            named = [(f"{name}: {title}", signal) for name, (title, signal) in zip(names, named, strict=True)]
    if not named:
        raise ModelInputError(message("no signals", "one or more", "pass what a diagnostic returns"))
    for _, signal in named:
        if "layer" not in signal.dims or 0 in signal.sizes.values():
            got, fix = f"dims {dict(signal.sizes)}", "choose a signal per layer"
            raise ShapeError(message(got, "a layer axis, none empty", fix))
    return named


def _panel(title: str, lines: Lines, width: float, *, last: bool) -> PlotPanel:
    count = len(lines.numbers)
    across = Axis(
        label=_ACROSS if last else "",
        words=tuple(str(number) for number in lines.numbers),
        shown=tuple(thinned(count, max(2, int(width * 0.8 / 0.45)))),
        low=-0.5,
        high=count - 0.5,
    )
    ends = np.concatenate([np.concatenate([line.mean, line.low]) for line in lines.each])
    positive = bool((ends[np.isfinite(ends)] >= 0).all())
    series = tuple(
        Series(
            x=np.arange(count),
            y=line.mean,
            name=line.name,
            low=line.low,
            high=line.high,
            colour=line.colour,
            dash=line.dash,
            mark="o" if count <= _MANY else "",
            called=tuple(f"layer {number}" for number in lines.numbers),
        )
        for line in lines.each
    )
    up = Axis(label=title, low=0.0 if positive else None)
    return PlotPanel(across=across, up=up, series=series, remark=lines.note, level=None if positive else 0.0)
