"""``compare``: two traces of one prompt on one scale, and their difference."""

from typing import TYPE_CHECKING, Any

import xarray as xr

from lvlmscope.comparing import Effect, effect
from lvlmscope.errors import ShapeError, message
from lvlmscope.plot.heatmaps import draw_map, map_height
from lvlmscope.plot.quantities import head_image_attention, layer_by_head, scale_of
from lvlmscope.plot.style import WIDTH, inscription, is_narrow, new_figure, paper_style, quantity_label, wrapped
from lvlmscope.record import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare"]

_ANSWER_LINES = 5


def compare(before: Trace, after: Trace, *, width: float = WIDTH * 1.35) -> Any:
    """Each head's attention on the image before and after a remedy, the difference, and both answers.

    The maps average over the steps that both answers share: up to the first word that differs, which both predict from
    the same text. Later steps answer different questions.

    Args:
        before: Without the remedy.
        after: With it.
        width: Inches; a narrow figure has its maps below each other.

    Returns:
        The matplotlib figure.

    Raises:
        ModelInputError: The traces are of different prompts or pictures, or hold no image keys.
        ShapeError: They have different layers or heads, or no steps.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> figure = compare(planted_trace(mass=0.25), planted_trace(mass=0.5))
        >>> [axes.get_title(loc="left") for axes in figure.axes[:3]]
        ['before', 'after', 'after minus before']
    """
    told = effect(before, after)
    steps = slice(0, told.shared_steps)
    maps = [layer_by_head(head_image_attention(t, steps), "compare traces")[0] for t in (before, after)]
    if maps[0].shape != maps[1].shape or before.layer_indices != after.layer_indices:
        received = f"{maps[0].shape[0]} x {maps[0].shape[1]} and {maps[1].shape[0]} x {maps[1].shape[1]} layers x heads"
        raise ShapeError(message("compare traces", received, "the same layers and heads", "trace the same model"))
    difference = (maps[1] - maps[0]).assign_attrs(long_name="difference", units="1")
    stacked = is_narrow(width)
    height = map_height(maps[0], width if stacked else width / 3 + 1.2)
    with paper_style():
        figure = new_figure(width, (height * 3 if stacked else height) + 1.9)
        places = figure.subplots(3 if stacked else 1, 1 if stacked else 3, sharey=not stacked, squeeze=False)
        _draw_maps(figure, places.ravel().tolist(), [*maps, difference])
        for place in places.ravel() if not stacked else ():
            place.label_outer(remove_inner_ticks=True)
        figure.suptitle(_heading(before, after, told, width), x=0.01, ha="left", fontsize=10)
    return figure


def _draw_maps(figure: "Figure", places: list["Axes"], maps: list[xr.DataArray]) -> None:
    shared = scale_of(*maps[:2])
    scales = (shared, shared, scale_of(maps[2], centred=True))
    drawn = []
    for place, values, scale, title in zip(
        places, maps, scales, ("before", "after", "after minus before"), strict=True
    ):
        drawn.append(draw_map(place, values, scale))
        place.set_title(title)
    bar = figure.colorbar(drawn[0], ax=places[:2], location="bottom")
    bar.set_label(quantity_label(maps[0].attrs))
    figure.colorbar(drawn[2], ax=places[2], location="bottom").set_label(quantity_label(maps[2].attrs))


def _heading(before: Trace, after: Trace, told: Effect, width: float) -> str:
    shared = f"{told.shared_steps} shared step{'s' if told.shared_steps != 1 else ''}"
    change = "no word changed"
    if told.first_step is not None:
        change = f'first token changed: "{told.before_word.strip()}" to "{told.after_word.strip()}"'
    texts = (f"before: {before.answer}", f"after: {after.answer}", f"mean over {shared}; {change}")
    room = {"inches": width * 0.96, "points": 10.0, "lines": _ANSWER_LINES}
    return "\n".join(wrapped(inscription(text), **room) for text in texts)  # type: ignore[arg-type]
