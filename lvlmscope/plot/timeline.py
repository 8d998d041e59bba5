"""Signals along the answer, word by word."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lvlmscope.errors import ModelInputError, message
from lvlmscope.plot.style import CLASS_COLOURS, CLASS_MARKERS, new_figure, shown
from lvlmscope.plot.views import focus_and_entropy
from lvlmscope.record import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["WordClass", "timeline"]

WordClass = Literal["true", "made up", "other"]
MOST_LABELS = 60


def timeline(
    signals: Trace | xr.Dataset, *, classes: Mapping[int, WordClass] | None = None, title: str | None = None
) -> Any:
    """Signals for each generated token, one panel a signal, with true and made-up words marked.

    Args:
        signals: A dataset of variables over `step`, or a trace: then image attention focus (mean over layers and
            heads) and layer image entropy (mean over layers).
        classes: Class of the steps that are known, such as `evaluation.word_classes` gives; other steps are `"other"`.
        title: Title above the panels.

    Returns:
        The matplotlib figure.

    Raises:
        ModelInputError: Variables over other dims, an unknown class, or a step that does not exist.
    """
    data = focus_and_entropy(signals) if isinstance(signals, Trace) else signals
    known = dict(classes or {})
    wrong = [f"variable {name} over {v.dims}" for name, v in data.data_vars.items() if v.dims != ("step",)]
    wrong += [f"step {step}" for step in known if not 0 <= step < data.sizes.get("step", 0)]
    wrong += [f"class {name!r}" for name in known.values() if name not in CLASS_COLOURS]
    if wrong or not data.data_vars:
        received = ", ".join(wrong) or "no variables"
        possible = f"variables over step, steps of them, classes {', '.join(CLASS_COLOURS)}"
        raise ModelInputError(message("draw a timeline", received, possible, "correct them"))
    steps = data.sizes["step"]
    figure = new_figure(min(14.0, max(6.0, 1.5 + 0.24 * steps)), 1.2 + 1.7 * len(data.data_vars))
    panels = np.atleast_1d(figure.subplots(len(data.data_vars), 1, sharex=True))
    for panel, values in zip(panels, data.data_vars.values(), strict=True):
        _draw(panel, values, known)
    _name_words(panels[-1], data, known)
    if known:
        panels[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    figure.suptitle(title or "signals along the answer", fontsize=10)
    return figure


def _draw(panel: "Axes", values: xr.DataArray, known: Mapping[int, str]) -> None:
    array, steps = values.values.astype(float), np.arange(values.sizes["step"])
    panel.plot(steps, array, color="#999999", linewidth=1, zorder=1)
    classes = np.array([known.get(int(step), "other") for step in steps])
    for name, colour in CLASS_COLOURS.items():
        chosen = classes == name
        size = 16 if name == "other" else 46
        label = f"{name} words" if chosen.any() else None
        panel.scatter(steps[chosen], array[chosen], c=colour, marker=CLASS_MARKERS[name], s=size, label=label, zorder=2)
    units = values.attrs.get("units", "")
    panel.set_ylabel(
        f"{values.attrs.get('long_name', values.name)}\n({'share' if units == '1' else units})", fontsize=8
    )
    panel.tick_params(labelsize=8)
    panel.grid(axis="y", alpha=0.3)
    if np.isnan(array).any():
        panel.text(0.01, 0.02, "gaps: not defined (NaN)", transform=panel.transAxes, fontsize=7)


def _name_words(panel: "Axes", data: xr.Dataset, known: Mapping[int, str]) -> None:
    tokens = data.coords["token"].values if "token" in data.coords else np.arange(data.sizes["step"])
    places = shown(list(tokens), MOST_LABELS)
    if len(places) < len(tokens):  # thinned: marked words keep their label unless a neighbour has one
        places = (
            sorted({*places, *(s for s in known if not {s - 1, s + 1} & set(places))}) if len(known) < 20 else places
        )
    labels = [str(tokens[n]).strip() or "⏎" for n in places]
    panel.set_xticks(places, labels, rotation=90, fontsize=8)
    for label, step in zip(panel.get_xticklabels(), places, strict=True):
        name = known.get(int(step), "other")
        label.set_color(CLASS_COLOURS[name] if name != "other" else "black")
        label.set_fontweight("bold" if name == "made up" else "normal")
    panel.set_xlabel("generated token", fontsize=8)
    panel.margins(x=0.01)
