"""An image whose chosen patches are in colour, beside a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lvlmscope.palette import HALLUCINATED, OTHER
from lvlmscope.plot.data.panels import PlotPanel
from lvlmscope.plot.drawing.map_colours import grey_image
from lvlmscope.plot.drawing.overlay_matplotlib import show_image
from lvlmscope.plot.drawing.plotly_figures import PIXELS
from lvlmscope.plot.drawing.plots_matplotlib import draw_plot
from lvlmscope.plot.drawing.plots_plotly import plotly_plots
from lvlmscope.plot.figure_style import is_narrow, new_figure
from lvlmscope.traces.image_identity import data_uri
from lvlmscope.traces.token_layout import Box, Cell

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ChosenPatches", "chosen_image", "draw_chosen", "draw_chosen_plotly"]

_HEIGHT: Final = 3.3
_SHARE: Final = 0.27  # of the width for the image
_FRAME: Final = HALLUCINATED  # vermilion is seen on most images
_LONGEST: Final = 480
_MANY: Final = 40  # patches


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChosenPatches:
    """What stands beside the plot.

    Attributes:
        image: In colour where it was chosen; None without an image.
        boxes: Of the chosen tokens.
        size: Width and height that the boxes refer to.
    """

    image: "Image | None"
    boxes: list[Box]
    size: tuple[int, int]


def chosen_image(background: "Image | None", cells: Sequence[Cell]) -> "Image | None":
    """The image in grey, and in colour at the cells' boxes."""
    if background is None:
        return None
    shown = grey_image(background)[0].convert("RGB")
    for cell in cells:
        if cell.box is not None:
            corners = tuple(round(edge) for edge in cell.box)
            shown.paste(background.crop(corners), corners)  # type: ignore[arg-type]
    return shown


def _title(chosen: ChosenPatches) -> str:
    return "chosen patches" if chosen.image is not None else "chosen patches (no image)"


def _line(chosen: ChosenPatches) -> float:
    """Points of a frame: thin ones where there are many, which would hide the object."""
    return 1.0 if len(chosen.boxes) <= _MANY else 0.25


def draw_chosen(chosen: ChosenPatches, panel: PlotPanel, width: float) -> Any:
    """Image and plot in matplotlib; below each other in a narrow figure.

    Args:
        chosen: The image.
        panel: The plot.
        width: Inches.

    Returns:
        The figure.
    """
    from matplotlib.patches import Rectangle

    narrow = is_narrow(width)
    figure = new_figure(width, _HEIGHT * (1.9 if narrow else 1.0))
    shape = {"height_ratios": (1, 1.2)} if narrow else {"width_ratios": (_SHARE, 1 - _SHARE)}
    grid = figure.subplots(2 if narrow else 1, 1 if narrow else 2, gridspec_kw=shape, squeeze=False)
    left, right = grid.ravel().tolist()
    show_image(left, chosen.size, chosen.image, small=chosen.image is None)
    left.set_title(_title(chosen), fontsize=10.5)
    for x0, y0, x1, y1 in chosen.boxes:
        left.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=_FRAME, linewidth=_line(chosen)))
    draw_plot(right, panel, width=width * (0.9 if narrow else 1 - _SHARE), up=2.6)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2 if narrow else 4, frameon=False, fontsize=9)
    return figure


def draw_chosen_plotly(chosen: ChosenPatches, panel: PlotPanel, width: float) -> Any:
    """Image and plot in plotly, with values on hover.

    Args:
        chosen: The image.
        panel: The plot.
        width: Inches of the matplotlib figure beside it.

    Returns:
        The figure.
    """
    import plotly.graph_objects as go

    narrow = is_narrow(width)
    figure = plotly_plots([panel], size=(width, _HEIGHT * (1.9 if narrow else 1.0)), least=1)
    image, plot = ([0.0, 1.0], [0.0, 0.5]) if narrow else ([0.0, _SHARE], [_SHARE + 0.13, 1.0])
    if narrow:
        figure.update_yaxes(domain=plot)
    else:
        figure.update_xaxes(domain=plot)
    frame: dict[str, Any] = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": ""}
    frame |= {"linecolor": OTHER, "mirror": True, "showline": True, "constrain": "domain"}
    (wide, high), up = chosen.size, [0.58, 1.0] if narrow else [0.0, 1.0]
    figure.update_layout(
        xaxis2={"domain": image, "range": [0, wide], "anchor": "y2", **frame},
        yaxis2={"domain": up, "range": [high, 0], "anchor": "x2", "scaleanchor": "x2", **frame},
    )
    blank = {"x": [0], "y": [0], "mode": "markers", "marker": {"opacity": 0}, "hoverinfo": "skip"}
    figure.add_trace(go.Scatter(xaxis="x2", yaxis="y2", showlegend=False, **blank))
    if chosen.image is not None:
        box = {"x": 0, "y": 0, "sizex": wide, "sizey": high, "yanchor": "top", "sizing": "stretch", "layer": "below"}
        figure.add_layout_image(source=data_uri(chosen.image, longest=_LONGEST), xref="x2", yref="y2", **box)
    for x0, y0, x1, y1 in chosen.boxes:
        edges = {"x0": x0, "x1": x1, "y0": y0, "y1": y1, "xref": "x2", "yref": "y2"}
        figure.add_shape(type="rect", line={"color": _FRAME, "width": 1.5 * _line(chosen)}, **edges)
    place = {"xref": "x2 domain", "yref": "y2 domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(text=_title(chosen), showarrow=False, font={"size": 13}, **place)
    figure.update_layout(width=round(width * PIXELS))
    return figure
