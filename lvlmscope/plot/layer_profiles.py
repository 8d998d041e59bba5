"""``layers``: signals over depth, with their spread over steps and heads, or their interval over many traces."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import OTHER
from lvlmscope.plot.data.layer_lines import Lines, lines_of
from lvlmscope.plot.data.unit_labels import axis_label
from lvlmscope.plot.drawing.plotly_figures import check_backend, plain, stacked_figure
from lvlmscope.plot.drawing.stacked_axes import stacked_axes
from lvlmscope.plot.figure_style import WIDTH, inscription, mark_positions, paper_style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["layers"]

_ACROSS: Final = "decoder layer (0 at the left)"
_DASHES: Final = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
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
    if backend == "plotly":
        stacked = [(title, _hovering(lines), lines.note) for title, lines in rows]
        return stacked_figure(stacked, across=_ACROSS, size=size)
    with paper_style(ax):
        panels = stacked_axes(ax, len(rows), size, shared=False)
        for panel, (title, lines) in zip(panels, rows, strict=True):
            _draw(panel, lines, width)
            panel.set_ylabel(wrapped(inscription(title), inches=1.8))
        panels[-1].set_xlabel(_ACROSS)
    return panels[0].get_figure(root=True)


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


def _draw(ax: "Axes", lines: Lines, width: float) -> None:
    across = np.arange(len(lines.numbers))
    for line in lines.each:
        mark = "o" if len(across) <= _MANY else ""
        style: dict[str, Any] = {"color": line.colour, "linestyle": line.dash, "marker": mark, "markersize": 4}
        ax.plot(across, line.mean, label=inscription(line.name), **style)
        ax.fill_between(across, line.low, line.high, color=line.colour, alpha=0.18, linewidth=0)
    mark_positions(ax, "x", lines.numbers, most=max(2, int(width * 0.8 / 0.45)))
    ax.set_xlim(-0.5, len(across) - 0.5)
    shown = np.concatenate([np.concatenate([line.mean, line.low]) for line in lines.each])
    if bool((shown[np.isfinite(shown)] >= 0).all()):
        ax.set_ylim(bottom=0)
    else:
        ax.axhline(0, color=OTHER, linewidth=0.8)
    if len(lines.each) > 1:
        ax.legend(frameon=False, fontsize=9, ncols=min(len(lines.each), 4))
    if lines.note:
        ax.set_title(wrapped(lines.note, inches=width * 0.8, points=9.0), fontsize=9, color=OTHER, loc="right")


def _hovering(lines: Lines) -> list[Any]:
    import plotly.graph_objects as go

    return [
        go.Scatter(
            x=lines.numbers,
            y=_plain_numbers(line.mean),
            error_y={
                "type": "data",
                "array": np.nan_to_num(line.high - line.mean).tolist(),
                "arrayminus": np.nan_to_num(line.mean - line.low).tolist(),
                "thickness": 1,
            },
            name=plain(line.name),
            line={"color": line.colour, "dash": _DASHES[line.dash]},
            hovertemplate=f"layer %{{x}}: %{{y:.4g}}<extra>{plain(line.name)}</extra>",
        )
        for line in lines.each
    ]


def _plain_numbers(line: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in line]
