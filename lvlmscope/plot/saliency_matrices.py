"""``saliency_matrix``: the words of an answer against the keys they depend on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.plot.data.colour_scale import Scale, ScaleChoice, check_colour_map, scale_of, scales_of
from lvlmscope.plot.data.matrix_panels import matrix_height, matrix_panel
from lvlmscope.plot.data.panels import CellColumn
from lvlmscope.plot.data.signal_arrays import matrix_of
from lvlmscope.plot.data.unit_labels import axis_label, heading_of
from lvlmscope.plot.drawing.matrix import draw_matrix
from lvlmscope.plot.drawing.plotly_figures import check_backend
from lvlmscope.plot.figure_style import WIDTH
from lvlmscope.traces.array_attributes import bounds_of
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import defined_mean
from lvlmscope.traces.words import Word, find_word, words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["saliency_matrix"]

_CUT: Final = 2.0  # times all others, above which the highest column is beyond a robust scale


@checked
@task("draw a matrix of words and keys")
def saliency_matrix(
    trace: Trace,
    signal: xr.DataArray,
    *,
    words: "Sequence[str | int | Word] | None" = None,
    image_keys: Literal["summed", "separate"] = "summed",
    scale: Literal["each", "shared", "robust"] = "robust",
    vmax: Annotated[float, Range(gt=0)] | None = None,
    cmap: str | None = None,
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
        scale: `"robust"` gives the column of the image a scale and a bar of its own, and that of the other keys leaves
            out the column of the highest value, a sink, where it is more than twice all others; `"each"` so for each
            word's row, which is divided by its highest value; `"shared"` is one scale to the highest value.
        vmax: Value of the last colour of the keys beside the image's column.
        cmap: A colour map of matplotlib; None for viridis, or for values of both signs RdBu_r.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw into; matplotlib only.
        title: Over the map; None for the quantity.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An empty answer, no such word, an unknown option or colour map, or `ax` with plotly.
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
    check_colour_map(cmap)
    cells, keys = _word_rows(trace, values.to_numpy().astype(float), chosen, summed=image_keys == "summed")
    heading = title if title is not None else heading_of(values, averaged)
    summed = len(keys) < len(trace.tokens)
    column = int(trace.image_keys.numpy().argmax()) if summed else None  # the columns before it are all there
    added = axis_label(values) if column is None else _label_of_sums(values, cells[:, column])
    scaled = _scaled(cells, column, scale, (axis_label(values), added, vmax, cmap))
    size = (width, matrix_height(len(cells)))
    panel = matrix_panel(
        scaled.cells,
        scaled.scale,
        (tuple(word.text for word in chosen), keys),
        texts=(heading, "key", "generated word", scaled.label),
        called=("word", "key"),
        size=size,
        kept=[] if column is None else [column],
        own=scaled.own,
    )
    return draw_matrix(panel, backend, ax, size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scaled:
    """Cells, their scale and its label, and the image's column with its own."""

    cells: np.ndarray
    scale: Scale
    label: str
    own: CellColumn | None


def _scaled(
    cells: np.ndarray, column: int | None, how: ScaleChoice, texts: tuple[str, str, float | None, str | None]
) -> _Scaled:
    label, added, vmax, cmap = texts
    if how == "shared" or column is None:
        if column is not None:
            label = f"{added}; image keys added up"
        parts, own = [cells], None
    else:
        own_scale = scales_of([cells[:, column]], "robust", colours=cmap)[0]
        named = f"{added}: image keys added up" + (f"; last colour: {own_scale.beyond}" if own_scale.beyond else "")
        own = CellColumn(column=column, scale=own_scale, label=named)
        parts = [np.delete(cells, column, axis=1)]
    most = _without_sink(parts[0]) if how != "shared" else parts[0]
    if how == "each" and vmax is None:
        return _by_row(cells, most, own, (f"{label}, 1: the end of each word's own scale", cmap))
    high = scale_of(most).high if vmax is None else vmax
    scale = scales_of(parts, "shared", vmax=high, colours=cmap)[0]
    label += f"; last colour: {scale.beyond}" if scale.beyond else ""
    return _Scaled(cells=cells, scale=scale, label=label, own=own)


def _label_of_sums(values: xr.DataArray, sums: np.ndarray) -> str:
    """The quantity and its unit; added up, what was within bounds may leave them."""
    within = not (sums > bounds_of(values.attrs)[1]).any()  # NaN is above nothing
    named = values.copy(deep=False)
    named.attrs = {name: value for name, value in values.attrs.items() if name != "bounds" or within}
    return axis_label(named)


def _without_sink(cells: np.ndarray) -> np.ndarray:
    """The cells without the column of the highest value, where that is more than twice all others."""
    heights = np.nan_to_num(np.abs(cells)).max(0)
    rest = np.delete(cells, int(heights.argmax()), axis=1)
    return rest if rest.size and heights.max() > _CUT * scale_of(rest).high else cells


def _by_row(cells: np.ndarray, most: np.ndarray, own: CellColumn | None, texts: tuple[str, str | None]) -> "_Scaled":
    """Each row divided by its highest value, the image's column as it is."""
    rows = [scale_of(row) for row in most]
    divided = cells / np.array([row.high for row in rows])[:, None]
    if own is not None:
        divided[:, own.column] = cells[:, own.column]
    low = -1.0 if any(row.low < 0 for row in rows) else 0.0
    above = "" if most.shape[1] >= cells.shape[1] - (own is not None) else "values above"
    scale = Scale(low=low, high=1.0, colours=texts[1] or scale_of([low, 1.0]).colours, beyond=above)
    return _Scaled(cells=divided, scale=scale, label=texts[0], own=own)


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
