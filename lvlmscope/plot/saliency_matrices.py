"""``saliency_matrix``: the words of an answer against the keys they depend on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import scale_of
from lvlmscope.plot.data.signal_arrays import matrix_of
from lvlmscope.plot.data.unit_labels import axis_label
from lvlmscope.plot.drawing.matrix import draw_matrix, heading_of
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import defined_mean
from lvlmscope.traces.words import Word, find_word, words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["saliency_matrix"]


@checked
@task("draw a matrix of words and keys")
def saliency_matrix(
    trace: Trace,
    signal: xr.DataArray,
    *,
    words: "Sequence[str | int | Word] | None" = None,
    image_keys: Literal["summed", "separate"] = "summed",
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    title: str | None = None,
    width: float = WIDTH,
) -> Any:
    """How much each word of the answer depends on each key; the first word at the top, keys after it grey.

    A word's row is the mean over its tokens, layers and heads.

    Args:
        trace: Where the words and keys come from.
        signal: Dims step and key, such as `saliency` gives; other dims are averaged over.
        words: Words of the answer, or steps; None for all words.
        image_keys: `"summed"` adds the image keys up in one column, `"separate"` keeps a column for each.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw into; matplotlib only.
        title: Over the map; None for the quantity.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An empty answer, no such word, an unknown option, or `ax` with plotly.
        ShapeError: Other dims, or those of another trace.

    Examples:
        >>> import numpy as np, xarray as xr
        >>> from lvlmscope.diagnostics import planted_trace
        >>> values = xr.DataArray(np.ones((3, 20)), dims=("step", "key"))
        >>> [label.get_text() for label in saliency_matrix(planted_trace(), values).axes[0].get_yticklabels()]
        ['word0', 'word1', 'word2']
    """
    check_backend(backend, ax)
    if image_keys not in {"summed", "separate"}:
        raise ModelInputError(message(f"image_keys={image_keys!r}", "'summed' or 'separate'", "choose one of them"))
    values, averaged = matrix_of(signal, ("step", "key"))
    require_trace(trace)
    if values.shape != (trace.num_steps, len(trace.tokens)):
        expected = f"{trace.num_steps} steps x {len(trace.tokens)} keys"
        got = f"{values.shape[0]} x {values.shape[1]}"
        raise ShapeError(message(got, expected, "take a signal of this trace"))
    listed = () if words is None else each_of("words", words, "words of the answer, or step numbers")
    chosen = words_of(trace) if words is None else tuple(find_word(trace, each) for each in listed)
    if not chosen:
        raise ModelInputError(message("no words", "one word or more", "trace an answer with words"))
    cells, keys = _word_rows(trace, values.to_numpy().astype(float), chosen, summed=image_keys == "summed")
    rows = tuple(word.text for word in chosen)
    heading = title if title is not None else heading_of(values, averaged)
    label = axis_label(values)
    summed = len(keys) < len(trace.tokens)
    kept = [int(trace.image_keys.numpy().argmax())] if summed else []  # the columns before it are all there
    label += "; image keys added up" if summed else ""
    texts = {"title": heading, "across": "key", "up": "generated word", "label": label}
    canvas = (backend, ax, width, 0.0)
    return draw_matrix((cells, scale_of(cells)), (rows, keys), ("word", "key"), texts, canvas, kept=kept)


def _word_rows(
    trace: Trace, values: np.ndarray, words: Sequence[Word], *, summed: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Means over each word's tokens ``[word, column]``, NaN where no token of the word sees the key; column names."""
    steps, keys = np.arange(trace.num_steps), np.arange(len(trace.tokens))
    seen = np.where(keys <= trace.num_prompt_keys - 1 + steps[:, None], values, np.nan)
    rows = np.stack([defined_mean(seen[list(word.steps)], 0) for word in words])
    names, images = [token.strip() or "·" for token in trace.tokens], trace.image_keys.numpy()
    if not summed or not images.any():
        return rows, tuple(names)
    first = int(images.argmax())
    kept = ~images
    kept[first] = True
    rows[:, first] = rows[:, images].sum(1)
    names[first] = f"image ({int(images.sum())})"
    return rows[:, kept], tuple(name for name, keep in zip(names, kept, strict=True) if keep)
