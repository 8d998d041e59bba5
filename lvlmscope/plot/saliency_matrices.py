"""``saliency_matrix``: the words of an answer against the keys they depend on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.plot.data.scale import scale_of
from lvlmscope.plot.data.signals import name_of
from lvlmscope.plot.data.unit_labels import quantity_label
from lvlmscope.plot.drawing.matrix import draw_matrix, heading_of, two_dims
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, find_word, words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["saliency_matrix"]


@task("draw a matrix of words and keys")
def saliency_matrix(
    trace: Trace,
    signal: xr.DataArray,
    *,
    words: "Sequence[str | int | Word] | None" = None,
    image: Literal["together", "each"] = "together",
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
        image: `"together"` adds the image keys up in one column, `"each"` keeps them.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw into; matplotlib only.
        title: Over the map; None tells the quantity.
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
    if image not in {"together", "each"}:
        raise ModelInputError(message(f"image={image!r}", "'together' or 'each'", "choose one of them"))
    values, told = two_dims(signal, ("step", "key"))
    if values.shape != (trace.num_steps, len(trace.tokens)):
        expected = f"{trace.num_steps} steps x {len(trace.tokens)} keys"
        got = f"{values.shape[0]} x {values.shape[1]}"
        raise ShapeError(message(got, expected, "take a signal of this trace"))
    chosen = words_of(trace) if words is None else tuple(find_word(trace, each) for each in words)
    if not chosen:
        raise ModelInputError(message("no words", "one word or more", "trace an answer with words"))
    cells, keys = _word_rows(trace, values.to_numpy().astype(float), chosen, image)
    rows = tuple([word.text for word in chosen])
    heading = title if title is not None else heading_of(values, told)
    label = quantity_label(values.attrs, name_of(values))
    together = len(keys) < len(trace.tokens)
    kept = [int(trace.image_keys.numpy().argmax())] if together else []  # nothing before it was put together
    label += "; image keys added up" if together else ""
    texts = {"title": heading, "across": "key", "up": "generated word", "label": label}
    place = (backend, ax, width, 0.0)
    return draw_matrix((cells, scale_of(cells)), (rows, keys), ("word", "key"), texts, place, kept=kept)


def _word_rows(
    trace: Trace, values: np.ndarray, words: Sequence[Word], image: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Means over each word's tokens ``[word, column]``, NaN where no token of the word sees the key; column names."""
    steps, keys = np.arange(trace.num_steps), np.arange(len(trace.tokens))
    seen = np.where(keys <= trace.num_prompt_keys - 1 + steps[:, None], values, np.nan)
    rows = np.full((len(words), len(keys)), np.nan)
    for number, word in enumerate(words):
        part = seen[list(word.steps)]
        count = np.isfinite(part).sum(0)
        np.divide(np.where(np.isfinite(part), part, 0.0).sum(0), count, out=rows[number], where=count > 0)
    names, images = [token.strip() or "·" for token in trace.tokens], trace.image_keys.numpy()
    if image == "each" or not images.any():
        return rows, tuple(names)
    first = int(images.argmax())
    kept = ~images
    kept[first] = True
    rows[:, first] = rows[:, images].sum(1)
    names[first] = f"image ({int(images.sum())})"
    return rows[:, kept], tuple(name for name, keep in zip(names, kept, strict=True) if keep)
