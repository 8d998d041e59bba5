"""``compare``: two traces of one prompt on one scale, and their difference."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_function
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import scale_of
from lvlmscope.plot.data.head_panels import head_panel, map_height
from lvlmscope.plot.data.panels import CellPanel
from lvlmscope.plot.data.signal_arrays import head_image_attention, layer_by_head
from lvlmscope.plot.data.unit_labels import counted, name_of
from lvlmscope.plot.drawing.cells_matplotlib import draw_cells
from lvlmscope.plot.drawing.cells_plotly import plotly_cells
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH, inscription, is_narrow, new_figure, paper_style, wrapped
from lvlmscope.traces.intervention_effect import Effect, effect
from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["compare"]

_ANSWER_LINES: Final = 5
_TITLES: Final = ("before", "after", "after minus before")


@checked
@task("compare traces")
def compare(
    before: Trace,
    after: Trace,
    *,
    signal: Callable[[Trace], xr.DataArray] = head_image_attention,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Sequence[Axes] | None" = None,
    width: float = WIDTH * 1.35,
) -> Any:
    """A signal of each head before and after an intervention on one scale, the difference, and both answers.

    The maps average over the steps that both answers share: up to the first word that differs, which both predict from
    the same text. Later steps answer different questions.

    Args:
        before: Without the intervention.
        after: With it.
        signal: From a trace to an array with layers and heads; the usual one is the attention on the image.
        backend: `"matplotlib"`, or `"plotly"` with hover.
        ax: Three axes to draw into, which get the maps without the answers; matplotlib only.
        width: Inches; a narrow figure has its maps below each other.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: The traces are of different prompts or images, or hold no image keys; an unknown backend,
            `ax` with plotly, or another number of axes.
        ShapeError: They have different layers or heads, or no steps; or the signal has no layers and heads.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> figure = compare(planted_trace(mass=0.25), planted_trace(mass=0.5))
        >>> [axes.get_title(loc="left") for axes in figure.axes[:3]]
        ['before', 'after', 'after minus before']
    """
    check_backend(backend, ax, several=True)
    require_function("signal", signal, "a function of a trace")
    change = effect(before, after)
    maps = _maps(before, after, signal, change)
    shared, stacked = scale_of(*maps[:2]), is_narrow(width)
    height = map_height(maps[0], width if stacked else width / 3 + 1.2)
    room = (width * 0.85, height - 1.2) if stacked else (width / 3 - 0.6, height - 0.3)
    scales = (shared, shared, scale_of(maps[2], centred=True))
    drawn = zip(maps, scales, _TITLES, strict=True)
    panels = [head_panel(values, scale, title, room=room) for values, scale, title in drawn]
    if ax is None and not stacked:
        panels[1:] = [replace(one, up=replace(one.up, label="", silent=True)) for one in panels[1:]]
    if backend == "plotly":
        size = (width, height * 3 + 1.9 if stacked else height)
        return plotly_cells(panels, size=size, heading=_heading(before, after, change, width), below=stacked)
    if ax is not None and np.size(np.asarray(ax, dtype=object)) != len(_TITLES):
        got = f"{np.size(np.asarray(ax, dtype=object))} axes"
        raise ModelInputError(message(got, "3 axes: before, after, difference", "give three axes"))
    with paper_style(ax):
        if ax is not None:
            places = list(np.asarray(ax, dtype=object).ravel())
            _draw_maps(places, panels, width)
            return places[0].get_figure(root=True)
        figure = new_figure(width, (height * 3 if stacked else height) + 1.9)
        grid = figure.subplots(3 if stacked else 1, 1 if stacked else 3, sharey=not stacked, squeeze=False)
        _draw_maps(grid.ravel().tolist(), panels, width)
        figure.suptitle(_inscribed(_heading(before, after, change, width)), x=0.01, ha="left", fontsize=10)
    return figure


def _inscribed(text: str) -> str:
    """Each line of a text as matplotlib can draw it."""
    return "\n".join(inscription(line) for line in text.split("\n"))


def _maps(
    before: Trace, after: Trace, signal: Callable[[Trace], xr.DataArray], change: Effect
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Before, after and their difference, averaged over the shared steps; dims (layer, head)."""
    found = []
    for trace in (before, after):
        values = signal(trace)
        part = values.isel(step=slice(0, change.shared_steps)) if "step" in getattr(values, "dims", ()) else values
        found.append(layer_by_head(part)[0])
    old, new = found
    if old.shape != new.shape or before.layer_indices != after.layer_indices:
        got = f"{old.shape[0]} x {old.shape[1]} and {new.shape[0]} x {new.shape[1]} layers x heads"
        raise ShapeError(message(got, "the same layers and heads", "trace the same model"))
    units = old.attrs.get("units", "")
    return (
        old,
        new,
        (new - old).assign_attrs(long_name=f"difference in {name_of(old)}", units=units, bounds=(-np.inf, np.inf)),
    )


def _draw_maps(places: "list[Axes]", panels: Sequence[CellPanel], width: float) -> None:
    drawn = [draw_cells(place, panel, width=width / 3)[0] for place, panel in zip(places, panels, strict=True)]
    bar = places[0].figure.colorbar(drawn[0], ax=places[:2], location="bottom")
    bar.set_label(inscription(panels[0].label))
    own = places[0].figure.colorbar(drawn[2], ax=places[2], location="bottom")
    own.set_label(wrapped(inscription(panels[2].label), inches=max(width / 3 - 0.3, 1.4)))


def _heading(before: Trace, after: Trace, change: Effect, width: float) -> str:
    first = "no word changed"
    if change.first_step is not None:
        first = f'first token changed: "{change.before_word.strip()}" to "{change.after_word.strip()}"'
    shared = counted(change.shared_steps, "shared step")
    texts = (f"before: {before.answer}", f"after: {after.answer}", f"mean over {shared}; {first}")
    room = {"inches": width * 0.96, "points": 10.0, "lines": _ANSWER_LINES}
    return "\n".join(wrapped(" ".join(text.split()), **room) for text in texts)  # type: ignore[arg-type]
