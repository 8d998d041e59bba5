"""``correlation``: layers against layers. ``saliency_matrix``: words against the keys they depend on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, ShapeError, message
from lvlmscope.plot.interactive import check_backend, hover_map
from lvlmscope.plot.quantities import Scale, name_of, scale_of
from lvlmscope.plot.style import (
    LAYER_AXIS,
    UNDEFINED,
    WIDTH,
    add_note,
    inscription,
    is_narrow,
    new_figure,
    paper_style,
    quantity_label,
    thinned,
    wrapped,
)
from lvlmscope.plot.words import Word, find_word, words_of
from lvlmscope.record import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["correlation", "saliency_matrix"]

_LONGEST: Final = 14  # characters of a label
_PITCH: Final = 0.17  # inches between two labels


def correlation(
    signal: xr.DataArray,
    *,
    backend: Literal["matplotlib", "plotly"] = "matplotlib",
    ax: "Axes | None" = None,
    title: str | None = None,
    width: float = WIDTH * 0.75,
) -> Any:
    """Correlation of every two layers, on a scale from -1 to 1; layer 0 at the bottom and at the left.

    Args:
        signal: Dims layer and other_layer, such as `layer_correlation` gives; other dims are averaged over.
        backend: `"matplotlib"`, or `"plotly"` with hover and zoom.
        ax: Axes to draw into; matplotlib only.
        title: Over the map; None tells the quantity.
        width: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.

    Raises:
        ModelInputError: An unknown backend, or `ax` with plotly.
        ShapeError: Other dims, or an empty one.

    Examples:
        >>> import numpy as np, xarray as xr
        >>> correlation(xr.DataArray(np.eye(3), dims=("layer", "other_layer"))).axes[0].images[0].get_clim()
        (-1.0, 1.0)
    """
    asked = "draw a correlation of layers"
    check_backend(asked, backend, ax)
    values, told = _two_dims(signal, ("layer", "other_layer"), asked)
    names = tuple([int(n) for n in values.coords.get(dim, range(values.sizes[dim]))] for dim in values.dims)
    heading = title if title is not None else _heading(values, told)
    label = f"{name_of(values)} (Pearson r)"
    texts = {"title": heading, "across": "other layer", "up": LAYER_AXIS, "label": label}
    shown = (values.to_numpy().astype(float), Scale(low=-1.0, high=1.0, colours=scale_of([-1.0]).colours))
    return _drawn(shown, (names[0], names[1]), ("layer", "other layer"), texts, (backend, ax, width, 0.9))


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
    asked = "draw a matrix of words and keys"
    check_backend(asked, backend, ax)
    values, told = _two_dims(signal, ("step", "key"), asked)
    if values.shape != (trace.num_steps, len(trace.tokens)):
        possible = f"{trace.num_steps} steps x {len(trace.tokens)} keys"
        received = f"{values.shape[0]} x {values.shape[1]}"
        raise ShapeError(message(asked, received, possible, "take a signal of this trace"))
    chosen = words_of(trace) if words is None else tuple(find_word(trace, each) for each in words)
    if not chosen:
        raise ModelInputError(message(asked, "no words", "one word or more", "trace an answer with words"))
    cells, keys = _word_rows(trace, values.to_numpy().astype(float), chosen, image)
    rows = tuple([word.text for word in chosen])
    heading = title if title is not None else _heading(values, told)
    label = quantity_label(values.attrs, name_of(values))
    texts = {"title": heading, "across": "key", "up": "generated word", "label": label}
    called = ("word", "key")
    return _drawn((cells, scale_of(cells)), (rows, keys), called, texts, (backend, ax, width, 0.0))


def _word_rows(
    trace: Trace, values: np.ndarray, words: Sequence[Word], image: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Means over each word's tokens ``[word, column]``, NaN where no token of the word sees the key; column names."""
    steps, keys = np.arange(trace.num_steps), np.arange(len(trace.tokens))
    seen = np.where(keys <= trace.prompt_length - 1 + steps[:, None], values, np.nan)
    rows = np.full((len(words), len(keys)), np.nan)
    for number, word in enumerate(words):
        part = seen[list(word.steps)]
        count = np.isfinite(part).sum(0)
        np.divide(np.where(np.isfinite(part), part, 0.0).sum(0), count, out=rows[number], where=count > 0)
    names, pictures = [token.strip() or "·" for token in trace.tokens], trace.image_keys.numpy()
    if image == "each" or not pictures.any():
        return rows, tuple(names)
    first = int(pictures.argmax())
    kept = ~pictures
    kept[first] = True
    rows[:, first] = rows[:, pictures].sum(1)
    names[first] = f"image ({int(pictures.sum())})"
    return rows[:, kept], tuple(name for name, keep in zip(names, kept, strict=True) if keep)


def _two_dims(signal: Any, dims: tuple[str, str], asked: str) -> tuple[xr.DataArray, str]:
    if not isinstance(signal, xr.DataArray) or not set(dims) <= set(signal.dims) or 0 in signal.shape:
        received = f"dims {dict(signal.sizes)}" if isinstance(signal, xr.DataArray) else type(signal).__name__
        possible = f"a labelled array with dims {dims[0]} and {dims[1]}, none empty"
        raise ShapeError(message(asked, received, possible, "pass what a diagnostic returns"))
    others = [str(dim) for dim in signal.dims if dim not in dims]
    told = ", ".join(f"{signal.sizes[dim]} {dim}{'s' if signal.sizes[dim] > 1 else ''}" for dim in others)
    flat = signal.mean(others, keep_attrs=True) if others else signal
    return flat.transpose(*dims), f"mean over {told}" if told else ""


def _heading(values: xr.DataArray, told: str) -> str:
    name = name_of(values)
    return f"{name[:1].upper()}{name[1:]}" + (f", {told}" if told else "")


def _drawn(
    shown: tuple[np.ndarray, Scale],
    names: tuple[Sequence[Any], Sequence[Any]],
    called: tuple[str, str],
    texts: dict[str, str],
    place: "tuple[str, Axes | None, float, float]",
) -> Any:
    """One map in either backend; `place` is backend, axes, width and height as a share of it (0: by the rows)."""
    (values, scale), (backend, ax, width, tall) = shown, place
    label, note = texts.pop("label"), _note(values, words=not tall)
    height = width * tall if tall else float(min(max(0.2 * len(values) + 1.9, 2.9), 9.5))
    upside_down = not tall
    if backend == "plotly":
        texts["across"] += f"\n{note}" if note else ""
        figure = hover_map(values, scale, names=names, called=called, label=label, size=(width, height), **texts)
        figure.layout.yaxis.autorange = "reversed" if upside_down else True
        return figure
    with paper_style():
        ax = ax if ax is not None else new_figure(width, height + is_narrow(width)).subplots()
        _draw_cells(ax, values, scale, names, upside_down=upside_down)
        ax.set_xlabel(texts["across"])
        ax.set_ylabel(texts["up"])
        ax.set_title(wrapped(inscription(texts["title"]), inches=width * 0.75, points=10.5))
        if note:
            add_note(ax, note, centred=not np.isfinite(values).any())
        bar = ax.figure.colorbar(ax.images[0], ax=ax, location="bottom" if is_narrow(width) else "right")
        bar.set_label(inscription(label))
    return ax.get_figure(root=True)


def _note(values: np.ndarray, *, words: bool) -> str:
    """What a reader must know about cells without a value; empty when there are none."""
    missing = int((~np.isfinite(values)).sum())
    if missing == values.size:
        return "not defined anywhere"
    grey = "grey: not defined, or not yet written" if words else "grey: not defined"
    return f"{grey} ({missing} of {values.size} cells)" if missing else ""


def _draw_cells(
    ax: "Axes",
    values: np.ndarray,
    scale: Scale,
    names: tuple[Sequence[Any], Sequence[Any]],
    *,
    upside_down: bool,
) -> None:
    import matplotlib as mpl

    colours = mpl.colormaps[scale.colours].with_extremes(bad=UNDEFINED)
    origin: Literal["upper", "lower"] = "upper" if upside_down else "lower"
    cells = np.ma.masked_invalid(values)
    limits: dict[str, Any] = {"vmin": scale.low, "vmax": scale.high, "aspect": "auto", "interpolation": "nearest"}
    ax.imshow(cells, cmap=colours, origin=origin, **limits)
    ax.spines[:].set_visible(False)
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    for along, inches, labels in (("y", box.height, names[0]), ("x", box.width, names[1])):
        # The colour bar and long labels take their room after this
        chosen = thinned(len(labels), max(2, int(inches * 0.72 / _PITCH)))
        texts = [_short(labels[n]) for n in chosen]
        if along == "y":
            ax.set_yticks(chosen, texts)
        else:
            ax.set_xticks(chosen, texts, rotation=90 if upside_down else 0)


def _short(label: Any) -> str:
    text = str(label)
    return inscription(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
