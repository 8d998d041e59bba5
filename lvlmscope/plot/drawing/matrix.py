"""A matrix of labelled cells in either backend."""

from typing import TYPE_CHECKING, Any

from lvlmscope.plot.data.panels import CellPanel
from lvlmscope.plot.drawing.cells_matplotlib import add_bars, draw_cells
from lvlmscope.plot.drawing.cells_plotly import plotly_cells
from lvlmscope.plot.figure_style import is_narrow, new_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_matrix"]


def draw_matrix(panel: CellPanel, backend: str, ax: "Axes | None", size: tuple[float, float]) -> Any:
    """One map with its colour bars.

    Args:
        panel: What.
        backend: `"matplotlib"` or `"plotly"`.
        ax: Axes to draw into; None for a new figure.
        size: Inches of a new figure.

    Returns:
        The matplotlib or plotly figure.
    """
    if backend == "plotly":
        return plotly_cells([panel], size=size)
    width, height = size
    narrow = is_narrow(width)
    with paper_style(ax):
        bars = narrow * (1 + (panel.own is not None))
        ax = ax if ax is not None else new_figure(width, height + bars).subplots()
        drawn = draw_cells(ax, panel, width=width)
        add_bars(ax, panel, drawn, along=(width if narrow else height) - 1.6, below=narrow)
    return ax.get_figure(root=True)
