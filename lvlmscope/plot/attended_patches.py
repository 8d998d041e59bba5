"""``attending_words``: which words attend to chosen patches of the image."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.palette import GROUNDED, HALLUCINATED, OTHER
from lvlmscope.plot.data.head_choice import choose_part, part_text
from lvlmscope.plot.data.image_boxes import background_of, layout_of
from lvlmscope.plot.data.panels import Axis, PlotPanel, Series
from lvlmscope.plot.data.region_words import RegionWords, chosen_cells, region_words
from lvlmscope.plot.drawing.chosen_patches import ChosenPatches, chosen_image, draw_chosen, draw_chosen_plotly
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH, is_narrow, paper_style
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.sink_keys import sink_mask
from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    import xarray as xr
    from PIL.Image import Image

__all__ = ["attending_words"]

_LOOKS: Final = {
    "hallucinated": (HALLUCINATED, "X", 7.0),
    "grounded": (GROUNDED, "o", 6.0),
    "other words": (OTHER, ".", 6.0),
}
_PITCH: Final = 0.155  # inches between two upright labels
_EVEN: Final = "if spread evenly over the image"


@checked
@task("find the words that attend to patches")
def attending_words(
    trace: Trace,
    *,
    box: tuple[float, float, float, float] | None = None,
    patches: Sequence[tuple[int, int]] | None = None,
    layers: Sequence[int] | None = None,
    heads: Sequence[int | tuple[int, int]] | None = None,
    sinks: Literal["keep", "exclude", "first_key"] | "xr.DataArray" = "keep",
    hallucinated: Iterable[Any] = (),
    grounded: Iterable[Any] = (),
    image: "Image | str | Path | None" = None,
    image_index: int = 0,
    frame: int = 0,
    tile: int | None = None,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    width: float = WIDTH * 1.2,
) -> Any:
    r"""From patches to words: each word's attention on chosen patches, beside what an even spread would give.

    The image is in colour where it was chosen. A word's value is the sum over the chosen tokens, the mean over its own
    tokens, the layers and the heads. The line is the word's attention on all image tokens times the share of them that
    was chosen: words above it attend to these patches more than to the rest of the image. LVLM-Interpret (arXiv
    2404.03118) calls it text-to-image patch attention.

    Args:
        trace: A trace whose layout knows the patches.
        box: Left, top, right, bottom in pixels of the image: tokens that show some part of it are chosen.
        patches: Or (row, column) pairs, from the top left.
        layers: Decoder layer numbers to average over, negative ones counted from the end; None for all.
        heads: Query head numbers, or (layer, head) pairs, to average over; None for all.
        sinks: As in `overlay`.
        hallucinated: Words to mark as hallucinated, as in `timeline`.
        grounded: Words to mark as being in the image, likewise.
        image: The image or its file; None takes the trace's own.
        image_index: Which image of the prompt, counted from 0.
        frame: Which frame of a video, counted from 0.
        tile: Only tokens of this tile; None for all, and for patches tile 0.
        backend: `"matplotlib"`, or `"plotly"`, which names the words on hover.
        width: Inches.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: Neither box nor patches, both, a place that is not on the image, no such image, layer or head,
            an empty answer, a mark outside it, or no image keys.
        GeometryError: Which pixels a token covers is not known (with the reason), or the image is another one.
        ShapeError: Sinks of another trace.
        ImageInputError: `image` names a file that is not there, or that is no image.

    Examples:
        >>> from lvlmscope.diagnostics import planted_trace
        >>> figure = attending_words(planted_trace(patch=7, mass=0.5), patches=[(1, 3)])
        >>> figure.axes[1].get_ylabel()
        'attention on 1 of 16 image tokens\n(share of 1)'
    """
    check_backend(backend, None)
    require_image(trace)
    layout = layout_of(trace, image_index)
    cells = chosen_cells(layout, box, patches, tile=tile, frame=frame)
    part = choose_part(trace, layers, heads, "word")
    marks = {"hallucinated": hallucinated, "grounded": grounded}
    found = region_words(trace, cells, part, sink_mask(trace, sinks), marks)
    chosen = ChosenPatches(
        image=chosen_image(background_of(trace, image_index, image), cells),
        boxes=[cell.box for cell in cells if cell.box is not None],
        size=layout.size or (1, 1),
    )
    total = int(trace.image_keys.sum())
    label = f"attention on {len(cells)} of {total} image tokens (share of 1)"
    panel = _panel(found, label, part_text(trace, part, sinks), width)
    if backend == "plotly":
        return draw_chosen_plotly(chosen, panel, width)
    with paper_style():
        return draw_chosen(chosen, panel, width)


def _panel(found: RegionWords, label: str, remark: str, width: float) -> PlotPanel:
    count, x = len(found.words), np.arange(len(found.words))
    room = width - 1.0 if is_narrow(width) else width * 0.62
    shown = _labelled(found, pitch=max(1.0, _PITCH * count / room))
    few = f" ({len(shown)} of {count} labelled)" if len(shown) < count else ""
    series = [Series(x=x, y=found.even, name=_EVEN, colour=OTHER, dash="--", width=1.0)]
    for kind, (colour, mark, size) in _LOOKS.items():
        chosen = np.array([n for n, each in enumerate(found.kinds) if each == kind], dtype=int)
        if chosen.size:
            called = tuple(f"{found.words[n].text} (word {n})" for n in chosen)
            look = {"colour": colour, "mark": mark, "size": size, "called": called, "interval": "stem"}
            y = found.attention[chosen]
            series.append(Series(x=chosen, y=y, low=np.zeros(len(y)), high=y, name=kind, **look))  # type: ignore[arg-type]
    across = Axis(
        label=f"generated word{few}",
        words=tuple(word.text for word in found.words),
        shown=shown,
        colours={n: _LOOKS[found.kinds[n]][0] for n in shown if found.kinds[n] != "other words"},
        upright=True,
        low=-0.6,
        high=count - 0.4,
    )
    missing = int((~np.isfinite(found.attention)).sum())
    note = f"not defined for {missing} of {count} words" if missing else ""
    highest = float(np.nan_to_num(np.concatenate([found.attention, found.even])).max())
    up = Axis(label=label, low=0.0, high=1.08 * highest or 1.0)
    return PlotPanel(across=across, up=up, series=tuple(series), remark="; ".join(filter(None, (remark, note))))


def _labelled(found: RegionWords, *, pitch: float) -> tuple[int, ...]:
    """As many words as fit: the one with the most attention on the region, marked words, then others by attention."""
    amount = np.nan_to_num(found.attention)
    marked = np.array([kind != "other words" for kind in found.kinds])
    kept: list[int] = []
    for number in np.argsort(-(amount + 2 * marked + 4 * (amount == amount.max())), kind="stable").tolist():
        if all(abs(number - other) >= pitch for other in kept):
            kept.append(number)
    return tuple(sorted(kept))
