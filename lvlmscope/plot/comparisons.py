"""``compare``: two traces of one prompt on one scale, and their difference."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_function
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import Scale, scale_of
from lvlmscope.plot.data.signal_arrays import head_image_attention, layer_by_head
from lvlmscope.plot.data.unit_labels import axis_label, counted
from lvlmscope.plot.drawing.head_map import draw_map, hovering_map, map_height
from lvlmscope.plot.drawing.plotly_figures import beside_each_other, check_backend
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
    shared = scale_of(*maps[:2])
    drawn = list(zip(maps, (shared, shared, scale_of(maps[2], centred=True)), strict=True))
    stacked = is_narrow(width)
    height = map_height(maps[0], width if stacked else width / 3 + 1.2)
    if backend == "plotly":
        each = [hovering_map(values, scale, title) for (values, scale), title in zip(drawn, _TITLES, strict=True)]
        return beside_each_other(each, title=_heading(before, after, change, width), size=(width, height))
    if ax is not None and np.size(np.asarray(ax, dtype=object)) != len(_TITLES):
        got = f"{np.size(np.asarray(ax, dtype=object))} axes"
        raise ModelInputError(message(got, "3 axes: before, after, difference", "give three axes"))
    with paper_style(ax):
        if ax is not None:
            _draw_maps(list(np.asarray(ax, dtype=object).ravel()), drawn)
            return np.asarray(ax, dtype=object).ravel()[0].get_figure(root=True)
        figure = new_figure(width, (height * 3 if stacked else height) + 1.9)
        panels = figure.subplots(3 if stacked else 1, 1 if stacked else 3, sharey=not stacked, squeeze=False)
        _draw_maps(panels.ravel().tolist(), drawn)
        for panel in panels.ravel() if not stacked else ():
            panel.label_outer(remove_inner_ticks=True)
        figure.suptitle(_heading(before, after, change, width), x=0.01, ha="left", fontsize=10)
    return figure


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
    return old, new, (new - old).assign_attrs(long_name="difference", units=units)


def _draw_maps(panels: "list[Axes]", maps: Sequence[tuple[xr.DataArray, Scale]]) -> None:
    drawn = []
    for panel, (values, scale), title in zip(panels, maps, _TITLES, strict=True):
        drawn.append(draw_map(panel, values, scale))
        panel.set_title(title)
    bar = panels[0].figure.colorbar(drawn[0], ax=panels[:2], location="bottom")
    bar.set_label(_bar_label(maps[0][0]))
    panels[0].figure.colorbar(drawn[2], ax=panels[2], location="bottom").set_label(_bar_label(maps[2][0]))


def _bar_label(values: xr.DataArray) -> str:
    return inscription(axis_label(values))


def _heading(before: Trace, after: Trace, change: Effect, width: float) -> str:
    first = "no word changed"
    if change.first_step is not None:
        first = f'first token changed: "{change.before_word.strip()}" to "{change.after_word.strip()}"'
    shared = counted(change.shared_steps, "shared step")
    texts = (f"before: {before.answer}", f"after: {after.answer}", f"mean over {shared}; {first}")
    room = {"inches": width * 0.96, "points": 10.0, "lines": _ANSWER_LINES}
    return "\n".join(wrapped(inscription(text), **room) for text in texts)  # type: ignore[arg-type]
