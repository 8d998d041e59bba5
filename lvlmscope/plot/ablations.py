"""``ablation``: what each of many settings changed, with intervals, and what each token then takes."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import OTHER
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.figure_style import WIDTH, inscription, is_narrow, new_figure, paper_style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ablation"]

_LOOKS: Final = (("#0072B2", "o"), ("#D55E00", "s"))  # Okabe and Ito's blue and vermilion
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
    panels = _panels(found)
    settings, count = found.sizes["setting"], len(panels)
    size = (width, max(2.2, 0.32 * settings + 1.5))
    timed = count > found.sizes["score"]
    note = f"bars: {100 * float(found.attrs.get('level', 0.95)):.3g} % interval of the paired difference"
    note += "; line in the last plot: the plain model" if timed else ""
    stacked = is_narrow(width)
    if stacked:
        size = (size[0], size[1] * count)
    names = tuple(str(name) for name in found["setting"].values)
    if backend == "plotly":
        long = tuple("\n".join(wrapped(n, inches=width * 0.22, points=9.0, lines=2).splitlines()) for n in names)
        named = [_named(panel, long, first=stacked or n == 0) for n, panel in enumerate(panels)]
        return plotly_plots(named, size=size, below=stacked, legend="bottom", note=note)
    with paper_style():
        figure = new_figure(*size)
        places = figure.subplots(count if stacked else 1, 1 if stacked else count, squeeze=False).ravel().tolist()
        room = width * (0.3 if stacked else 0.22)
        broken = tuple(wrapped(name, inches=room, points=9.0, lines=2) for name in names)
        for number, (place, panel) in enumerate(zip(places, panels, strict=True)):
            draw_plot(
                place, _named(panel, broken, first=stacked or number == 0), width=width / (1 if stacked else count)
            )
            place.locator_params(axis="x", nbins=4)
        _legend(figure, places[0], note)
    return figure


def _panels(found: xr.Dataset) -> list[PlotPanel]:
    """A plot of differences for each score, then one of latencies where they are known."""
    settings = found.sizes["setting"]
    up = Axis(low=-0.5, high=settings - 0.5, reversed=True)
    names = tuple(str(name) for name in found["setting"].values)
    panels = []
    for number, score in enumerate(found["score"].values):
        series = []
        for against, name in enumerate(found["against"].values):
            part = found.isel(score=number, against=against)
            middle, low, high = (part[each].to_numpy().astype(float) for each in ("difference", "low", "high"))
            colour, mark = _LOOKS[against % len(_LOOKS)]
            aside = (against - (found.sizes["against"] - 1) / 2) * 0.3
            places = np.arange(settings) + aside
            look = {"colour": colour, "mark": mark, "interval": "across", "name": f"minus {name}", "called": names}
            series.append(Series(x=middle, y=places, low=low, high=high, **look))  # type: ignore[arg-type]
        defined = np.isfinite(found["difference"].isel(score=number)).any()
        centred = "" if defined else "not defined"
        panel = PlotPanel(title=str(score), across=Axis(), up=up, series=tuple(series), upright=0.0, centred=centred)
        panels.append(panel)
    latency = found["latency"].to_numpy().astype(float)
    if np.isfinite(latency).any():
        own = float(found.attrs.get("plain_latency", np.nan))
        took = Series(x=latency, y=np.arange(settings), colour=OTHER, mark="D", interval="across", called=names)
        across, plain = Axis(low=0.0, high=1.08 * float(np.nanmax([own, *latency]))), own if np.isfinite(own) else None
        panels.append(PlotPanel(title="ms a token", across=across, up=up, series=(took,), upright=plain))
    return panels


def _named(panel: PlotPanel, names: tuple[str, ...], *, first: bool) -> PlotPanel:
    """The plot with the settings beside it, in the first one of a row with their names."""
    words = names if first else ("",) * len(names)
    return replace(panel, up=replace(panel.up, words=words, shown=tuple(range(len(names)))))


def _legend(figure: "Figure", panel: "Axes", note: str) -> None:
    drawn, labels = panel.get_legend_handles_labels()
    columns = 1 if is_narrow(float(figure.get_figwidth())) else 2
    title = wrapped(inscription(note), inches=figure.get_figwidth() * 0.9, points=9.0)
    texts = [inscription(label) for label in labels]
    look: dict[str, Any] = {"frameon": False, "fontsize": 9, "title_fontsize": 9, "ncols": columns}
    figure.legend(drawn, texts, title=title, loc="outside lower center", **look)
