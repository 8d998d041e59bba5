"""``layers``: signals over depth, with their spread over steps and heads."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, ShapeError, message
from lvlmscope.plot.interactive import check_backend, plain, plotly_figure
from lvlmscope.plot.quantities import name_of
from lvlmscope.plot.style import (
    OTHER,
    WIDTH,
    inscription,
    mark_positions,
    new_figure,
    paper_style,
    quantity_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["layers"]

_ASKED: Final = "draw signals over layers"
# Okabe and Ito's blue, vermilion, green and purple, each with a dash of its own
_LINES: Final = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
_ACROSS: Final = "decoder layer (0 at the left)"
_DASHES: Final = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
_Line = tuple[str, np.ndarray, np.ndarray]


def layers(
    signals: "xr.DataArray | Sequence[xr.DataArray] | Mapping[str, xr.DataArray]",
    *,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | Sequence[Axes] | None" = None,
    width: float = WIDTH,
) -> Any:
    """Signals over depth, one below the other: the mean, and a band of one standard deviation over all other axes.

    An axis of names (`anchor`, of `anchor_correlation`) gives a line for each name.

    Args:
        signals: Labelled arrays with a layer axis, or such arrays by title.
        backend: `"matplotlib"`, or `"plotly"` with hover, for one signal.
        ax: Axes to draw into, as many as signals; matplotlib only.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: No signals, several for plotly, an unknown backend, or another number of axes.
        ShapeError: A signal without a layer axis, or with an empty one.

    Examples:
        >>> from lvlmscope.diagnostics import layer_image_entropy, planted_trace
        >>> layers(layer_image_entropy(planted_trace())).axes[0].get_xlabel()
        'decoder layer (0 at the left)'
    """
    check_backend(_ASKED, backend, ax)
    named = _named(signals)
    rows = [(title, _lines(array), _numbers(array)) for title, array in named]
    if backend == "plotly":
        if len(rows) > 1:
            received, todo = f"{len(rows)} signals for plotly", "draw each by itself"
            raise ModelInputError(message(_ASKED, received, "one signal", todo))
        return _interactive(*rows[0], width)
    with paper_style():
        places = _places(ax, len(rows), width)
        for place, (title, lines, numbers) in zip(places, rows, strict=True):
            _draw(place, lines, numbers, width)
            place.set_ylabel(wrapped(inscription(title), inches=1.8))
        places[-1].set_xlabel(_ACROSS)
    return places[0].get_figure(root=True)


def _named(signals: Any) -> list[tuple[str, xr.DataArray]]:
    if isinstance(signals, Mapping):
        named = list(signals.items())
    else:
        arrays = [signals] if isinstance(signals, xr.DataArray) else list(signals)
        named = [(quantity_label(array.attrs, name_of(array)), array) for array in arrays]
    if not named:
        raise ModelInputError(message(_ASKED, "no signals", "one or more", "pass what a diagnostic returns"))
    for _, array in named:
        if "layer" not in array.dims or 0 in array.shape:
            received, todo = f"dims {dict(array.sizes)}", "choose a signal per layer"
            raise ShapeError(message(_ASKED, received, "a layer axis, none empty", todo))
    return named


def _lines(array: xr.DataArray) -> list[_Line]:
    """Name, mean and standard deviation over depth, where defined."""
    names = [str(dim) for dim in array.dims if dim in array.coords and array.coords[dim].dtype.kind in "OU"]
    split = next((dim for dim in names if dim != "layer"), None)
    parts = [("", array)] if split is None else [(str(n), array.sel({split: n})) for n in array.coords[split].values]
    found = []
    for name, part in parts:
        values = part.transpose("layer", ...).to_numpy().astype(float).reshape(part.sizes["layer"], -1)
        kept = np.ma.masked_invalid(values)
        mean, spread = kept.mean(1), kept.std(1)
        found.append((name, np.ma.filled(mean, np.nan), np.ma.filled(spread, np.nan)))
    return found


def _numbers(array: xr.DataArray) -> list[int]:
    return [int(n) for n in array.coords["layer"]] if "layer" in array.coords else list(range(array.sizes["layer"]))


def _places(ax: Any, count: int, width: float) -> "list[Axes]":
    if ax is None:
        return list(new_figure(width, 2.1 * count + 0.7).subplots(count, 1, squeeze=False).ravel())
    places = list(ax) if isinstance(ax, Sequence | np.ndarray) else [ax]
    if len(places) != count:
        received, todo = f"{len(places)} axes for {count} signals", "give as many axes as signals"
        raise ModelInputError(message(_ASKED, received, f"{count} axes", todo))
    return places


def _draw(ax: "Axes", lines: list[_Line], numbers: list[int], width: float) -> None:
    across = np.arange(len(numbers))
    for number, (name, mean, spread) in enumerate(lines):
        colour, dash = _LINES[number % len(_LINES)]
        mark = "o" if len(numbers) <= 40 else ""
        ax.plot(across, mean, color=colour, linestyle=dash, marker=mark, markersize=4, label=inscription(name))
        ax.fill_between(across, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
    mark_positions(ax, "x", numbers, most=max(2, int(width * 0.8 / 0.45)))
    ax.set_xlim(-0.5, len(numbers) - 0.5)
    if all(bool((mean[np.isfinite(mean)] >= 0).all()) for _, mean, _ in lines):
        ax.set_ylim(bottom=0)
    else:
        ax.axhline(0, color=OTHER, linewidth=0.8)
    if len(lines) > 1:
        ax.legend(frameon=False, fontsize=9, ncols=min(len(lines), 4))
    missing = sum(int((~np.isfinite(mean)).sum()) for _, mean, _ in lines)
    if missing:
        told = f"not defined for {missing} of {len(lines) * len(numbers)} layers"
        ax.set_title(told, fontsize=9, color=OTHER, loc="right")


def _interactive(title: str, lines: list[_Line], numbers: list[int], width: float) -> Any:
    import plotly.graph_objects as go

    drawn = []
    for number, (name, mean, spread) in enumerate(lines):
        colour, dash = _LINES[number % len(_LINES)]
        shown = [float(v) if np.isfinite(v) else None for v in mean]
        bars = {"type": "data", "array": np.nan_to_num(spread).tolist(), "thickness": 1}
        line = {"color": colour, "dash": _DASHES[dash]}
        told = "layer %{x}: %{y:.4g}<extra>" + plain(name) + "</extra>"
        scatter = go.Scatter(x=numbers, y=shown, error_y=bars, name=plain(name), line=line, hovertemplate=told)
        drawn.append(scatter)
    return plotly_figure(drawn, title=title, across=_ACROSS, up=title, size=(width, 2.8))
