"""What the tests of views share: traces with known words, and a look at where texts ended up."""

import dataclasses

from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from lvlmscope.diagnostics import planted_trace
from lvlmscope.traces.trace import Trace


def with_answer(*pieces: str, **planted) -> Trace:
    """A planted trace whose answer has these tokens."""
    trace = planted_trace(steps=len(pieces), **planted)
    return dataclasses.replace(trace, answer_tokens=pieces, answer="".join(pieces))


def with_image(trace: Trace, size: tuple[int, int] = (56, 56)) -> Trace:
    """The trace with a grey image in it."""
    return dataclasses.replace(trace, images=(Image.new("RGB", size, (120, 130, 140)),))


def texts_outside(figure: Figure) -> list[str]:
    """Visible texts of which more than a pixel lies outside the figure."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    outside = []
    axes_of_ticks = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    # matplotlib keeps labels beyond an axis's ends and does not draw them
    every = {label for axis in axes_of_ticks for label in axis.get_ticklabels()}
    drawn = {label for axis in axes_of_ticks for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible()):
        box = text.get_window_extent(renderer)
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        if text.get_text().strip() and box.width and not inside and text not in every - drawn:
            outside.append(text.get_text())
    return outside


def overlapping_labels(figure: Figure) -> list[tuple[str, str]]:
    """Neighbouring tick labels of one axis that touch."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    touching = []
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            shown = [label for label in labels if label.get_visible() and label.get_text()]
            boxes = [label.get_window_extent(renderer) for label in shown]
            pairs = zip(shown[:-1], shown[1:], boxes[:-1], boxes[1:], strict=True)
            touching += [(a.get_text(), b.get_text()) for a, b, one, two in pairs if one.overlaps(two)]
    return touching
