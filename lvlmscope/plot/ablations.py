"""``ablation``: what each of many settings changed, with intervals, and what each token then takes."""

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import OTHER
from lvlmscope.plot.drawing.plotly_figures import check_backend, plain, plotly_figure
from lvlmscope.plot.figure_style import WIDTH, add_note, inscription, is_narrow, new_figure, paper_style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ablation"]

_LOOKS: Final = (("#0072B2", "o", "circle"), ("#D55E00", "s", "square"))  # Okabe and Ito's blue and vermilion
_PARTS: Final = {"difference", "low", "high", "latency"}


@checked
@task("draw settings")
def ablation(
    found: xr.Dataset, *, backend: Literal["matplotlib", "plotly"] = "matplotlib", width: float = WIDTH * 1.35
) -> Any:
    """Settings below each other, a plot for each score: the difference to the plain model as a point with its interval.

    With captions a second point is the difference to the plain captions cut to as many mentions: a setting helps where
    that interval lies beside zero, on the good side. The last plot is the time of each token; its line is the plain
    model's.

    Args:
        found: What `lvlmscope.evaluation.setting_differences` gives.
        backend: `"matplotlib"`, or `"plotly"` with hover.
        width: Inches; a narrow figure has its plots below each other.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An unknown backend.
        ShapeError: Another dataset, or one without settings or scores.
    """
    check_backend(backend, None)
    require_kind("found", found, xr.Dataset, "what setting_differences gives")
    if not set(found.data_vars) >= _PARTS or 0 in found["difference"].shape:
        got = f"a dataset of {', '.join(map(str, found.data_vars)) or 'nothing'} with dims {dict(found.sizes)}"
        raise ShapeError(message(got, "what setting_differences gives", "pass its result"))
    timed = bool(np.isfinite(found["latency"]).any())
    count, settings = found.sizes["score"] + timed, found.sizes["setting"]
    size = (width, max(2.2, 0.32 * settings + 1.5))
    if backend == "plotly":
        return _interactive(found, count, size)
    with paper_style():
        stacked = is_narrow(width)
        figure = new_figure(size[0], size[1] * count if stacked else size[1])
        axes = figure.subplots(count if stacked else 1, 1 if stacked else count, squeeze=False).ravel().tolist()
        room = width * (0.3 if stacked else 0.22)
        for number, panel in enumerate(axes):
            if number < found.sizes["score"]:
                _draw_score(panel, found.isel(score=number))
            else:
                _draw_latency(panel, found)
            panel.set_ylim(settings - 0.5, -0.5)
            names = [
                wrapped(inscription(str(name)), inches=room, points=9.0, lines=2) for name in found["setting"].values
            ]
            panel.set_yticks(range(settings), names if stacked or number == 0 else [""] * settings)
            panel.locator_params(axis="x", nbins=4)
        _legend(figure, axes[0], found)
    return figure


def _draw_score(panel: "Axes", one: xr.Dataset) -> None:
    middle, low, high = (one[part].to_numpy().astype(float) for part in ("difference", "low", "high"))
    count = len(middle)
    for number, name in enumerate(one["against"].values):
        colour, mark, _ = _LOOKS[number % len(_LOOKS)]
        up = np.arange(middle.shape[1]) + (number - (count - 1) / 2) * 0.3
        ends = np.nan_to_num(np.stack([middle[number] - low[number], high[number] - middle[number]]))
        look: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 4, "linestyle": "", "elinewidth": 1.4}
        panel.errorbar(middle[number], up, xerr=np.abs(ends), label=f"minus {name}", **look)
    panel.axvline(0, color=OTHER, linewidth=0.8)
    panel.set_title(inscription(str(one["score"].item())))
    if not np.isfinite(middle).any():
        add_note(panel, "not defined", centred=True)


def _draw_latency(panel: "Axes", found: xr.Dataset) -> None:
    values = found["latency"].to_numpy().astype(float)
    panel.plot(values, range(len(values)), color=OTHER, marker="D", markersize=4, linestyle="")
    if np.isfinite(found.attrs.get("plain_latency", np.nan)):
        panel.axvline(found.attrs["plain_latency"], color=OTHER, linewidth=0.8)
    panel.set_xlim(left=0)
    panel.set_title("ms a token")


def _legend(figure: "Figure", panel: "Axes", found: xr.Dataset) -> None:
    drawn, labels = panel.get_legend_handles_labels()
    texts = [inscription(label) for label in labels]
    timed = bool(np.isfinite(found["latency"]).any())
    title = f"{_note(found)}; line in the last plot: the plain model" if timed else _note(found)
    columns = 1 if is_narrow(float(figure.get_figwidth())) else 2
    title = wrapped(inscription(title), inches=figure.get_figwidth() * 0.9, points=9.0)
    figure.legend(
        drawn,
        texts,
        title=title,
        loc="outside lower center",
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        ncols=columns,
    )


def _note(found: xr.Dataset) -> str:
    return f"bars: {100 * float(found.attrs.get('level', 0.95)):.3g} % interval of the paired difference"


def _interactive(found: xr.Dataset, count: int, size: tuple[float, float]) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = [plain(str(name)) for name in found["setting"].values]
    titles = [plain(str(name)) for name in found["score"].values]
    grid = make_subplots(rows=1, cols=count, shared_yaxes=True, subplot_titles=[*titles, "ms a token"][:count])
    shared = plotly_figure([], title=_note(found), across="", up="", size=size).layout.to_plotly_json()
    grid.update_layout(**{name: value for name, value in shared.items() if name not in ("xaxis", "yaxis")})
    for column in range(found.sizes["score"]):
        for number, against in enumerate(found["against"].values):
            part = found.isel(score=column, against=number)
            middle, low, high = (part[name].to_numpy().astype(float) for name in ("difference", "low", "high"))
            error = {"type": "data", "array": np.nan_to_num(high - middle).tolist()}
            grid.add_trace(
                go.Scatter(
                    x=_numbers(middle),
                    y=names,
                    error_x=error | {"arrayminus": np.nan_to_num(middle - low).tolist()},
                    mode="markers",
                    name=plain(f"minus {against}"),
                    legendgroup=str(number),
                    showlegend=column == 0,
                    marker={"color": _LOOKS[number % 2][0], "symbol": _LOOKS[number % 2][2]},
                    hovertemplate="%{y}: %{x:.4g}<extra></extra>",
                ),
                row=1,
                col=column + 1,
            )
    if count > found.sizes["score"]:
        look: dict[str, Any] = {"mode": "markers", "marker": {"color": OTHER, "symbol": "diamond"}, "showlegend": False}
        took = _numbers(found["latency"].to_numpy().astype(float))
        hover = "%{y}: %{x:.3g} ms a token<extra></extra>"
        grid.add_trace(go.Scatter(x=took, y=names, hovertemplate=hover, **look), row=1, col=count)
    grid.update_yaxes(autorange="reversed", automargin=True)
    grid.update_layout(legend={"orientation": "h", "y": -0.2})
    return grid


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
