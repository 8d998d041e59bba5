"""Two traces of one prompt on one scale, with their difference."""

from typing import Any

import numpy as np

from lvlmscope.errors import ModelInputError, message
from lvlmscope.plot.heatmap import draw_heatmap
from lvlmscope.plot.style import new_figure, wrapped
from lvlmscope.plot.views import image_attention
from lvlmscope.record import Trace

__all__ = ["compare"]


def compare(before: Trace, after: Trace) -> Any:
    """Image attention per layer and head before and after a remedy on one scale, and the difference centred at 0.

    Args:
        before: Trace without the remedy.
        after: Trace with it.

    Returns:
        The matplotlib figure.

    Raises:
        ModelInputError: The traces are of models of other shapes.
    """
    one, two = image_attention(before), image_attention(after)
    if one.shape != two.shape:
        received = f"{one.shape} and {two.shape} layers x heads"
        raise ModelInputError(message("compare two traces", received, "traces of one model", "trace the same model"))
    figure = new_figure(12.5, 4.6)
    panels = figure.subplots(1, 3)
    limits = (float(min(one.min(), two.min())), float(max(one.max(), two.max())))
    draw_heatmap(panels[0], one, title="before", limits=limits)
    draw_heatmap(panels[1], two, title="after", limits=limits)
    difference = (two - one).assign_attrs(one.attrs)
    reach = float(np.nanmax(np.abs(difference))) or 1e-9
    draw_heatmap(panels[2], difference, title="after - before", limits=(-reach, reach), diverging=True)
    figure.suptitle("attention on the image, mean over words", fontsize=11)
    text = f"{wrapped('before: ' + before.answer, 150)}\n{wrapped('after: ' + after.answer, 150)}"
    figure.supxlabel(text, fontsize=8, x=0.01, ha="left")
    return figure
