"""Where a word looked: its attention over the picture."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from lvlmscope.errors import ModelInputError, message
from lvlmscope.plot.style import SEQUENTIAL, new_figure, wrapped
from lvlmscope.record import Trace
from lvlmscope.wording import steps_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lvlmscope.layout import Cell

__all__ = ["overlay"]


def overlay(
    trace: Trace,
    word: str | int | Iterable[int],
    *,
    layers: Iterable[int] | None = None,
    heads: Iterable[int] | None = None,
    image: int = 0,
    tile: int = 0,
    frame: int = 0,
    alpha: float = 0.65,
    ax: "Axes | None" = None,
) -> Any:
    """A word's attention on each image token, laid over the picture; nothing is smoothed.

    Each token's box gets the share of attention that the predicting row of the word puts on it, mean over the chosen
    layers and heads (and over the word's tokens).

    Args:
        trace: A trace of a picture.
        word: Text of the answer, a step, or several steps (see `wording.steps_of`).
        layers: Decoder layer numbers; None takes all.
        heads: Head numbers; None takes all.
        image: Which picture of the prompt.
        tile: Which tile of it.
        frame: Which video frame.
        alpha: Opacity of the colours, in (0, 1].
        ax: Matplotlib axes to draw into; without it the plain picture is shown on the left.

    Returns:
        The matplotlib figure.

    Raises:
        ModelInputError: A word, step, layer, head or image that the trace does not have; alpha outside (0, 1].
        GeometryError: Which pixels a token covers is not known, with the reason.
    """
    steps = steps_of(trace, word)
    if not 0 <= image < len(trace.layout.images):
        received, possible = f"image {image}", f"{len(trace.layout.images)} images, numbered from 0"
        raise ModelInputError(message("draw an overlay", received, possible, "choose one of them"))
    if not 0 < alpha <= 1:
        raise ModelInputError(
            message("draw an overlay", f"alpha={alpha}", "more than 0, up to 1", "choose alpha there")
        )
    cells = trace.layout.images[image].patches(tile=tile, frame=frame)
    shares = _shares(trace, steps, layers, heads)[[cell.key for cell in cells]]
    title = f"“{''.join(trace.answer_tokens[s] for s in steps).strip()}”: {shares.sum():.1%} of attention on the image"
    if ax is None:
        figure = new_figure(8.2, 3.9)
        plain, ax = figure.subplots(1, 2)
        _picture(plain, trace, image)
        plain.set_title("picture", fontsize=10)
    _picture(ax, trace, image)
    _boxes(ax, cells, shares, alpha)
    ax.set_title(wrapped(title, 44), fontsize=10)
    return ax.figure


def _shares(
    trace: Trace, steps: tuple[int, ...], layers: Iterable[int] | None, heads: Iterable[int] | None
) -> np.ndarray:
    """Attention on every key, mean over steps, layers and heads, [key]."""
    layer_places = [
        _place(trace.layer_indices, n, "layer") for n in (trace.layer_indices if layers is None else layers)
    ]
    all_heads = tuple(range(trace.num_heads))
    head_places = [_place(all_heads, n, "head") for n in (all_heads if heads is None else heads)]
    chosen = trace.attention[list(steps)][:, layer_places][:, :, head_places]
    shares: np.ndarray = chosen.mean((0, 1, 2)).numpy()
    return shares


def _place(numbers: tuple[int, ...], wanted: int, kind: str) -> int:
    if wanted not in numbers:
        possible = f"{kind}s {numbers[0]} to {numbers[-1]}"
        raise ModelInputError(message("draw an overlay", f"{kind} {wanted}", possible, "choose one of them"))
    return numbers.index(wanted)


def _picture(ax: "Axes", trace: Trace, image: int) -> None:
    layout = trace.layout.images[image]
    width, height = layout.size or (1, 1)
    if image < len(trace.images) and layout.pixels == "image":
        ax.imshow(trace.images[image].convert("RGB"), extent=(0, width, height, 0), interpolation="nearest")
    else:
        ax.set_facecolor("#cccccc")
        ax.text(0.5, 0.5, "the trace holds\nno picture", transform=ax.transAxes, ha="center", va="center", fontsize=9)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])


def _boxes(ax: "Axes", cells: "tuple[Cell, ...]", shares: np.ndarray, alpha: float) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    boxes = [cell.box for cell in cells if cell.box is not None]
    patches = [Rectangle((left, top), right - left, bottom - top) for left, top, right, bottom in boxes]
    drawn = PatchCollection(patches, cmap=SEQUENTIAL, alpha=alpha, linewidth=0)
    drawn.set_array(shares[[cell.box is not None for cell in cells]])
    drawn.set_clim(0, max(float(shares.max(initial=0.0)), 1e-9))
    ax.add_collection(drawn)
    ax.figure.colorbar(drawn, ax=ax, pad=0.02, shrink=0.85).set_label("share of attention per patch")
