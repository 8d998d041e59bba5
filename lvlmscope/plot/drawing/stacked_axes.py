"""Axes below each other, one for each signal: new ones, or those that the caller gives."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lvlmscope.errors import ModelInputError, message
from lvlmscope.plot.figure_style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["given_axes", "stacked_axes"]


def stacked_axes(ax: Any, count: int, size: tuple[float, float], *, shared: bool) -> "list[Axes]":
    """One axes for each signal.

    Args:
        ax: Axes to draw into, one or several; None for a new figure.
        count: Signals.
        size: Width and height of a new figure in inches.
        shared: Whether new axes share their horizontal axis.

    Raises:
        ModelInputError: Another number of axes than of signals.
    """
    given = given_axes(ax, count)
    if given is None:
        return list(new_figure(*size).subplots(count, 1, sharex=shared, squeeze=False).ravel())
    return given


def given_axes(ax: Any, count: int) -> "list[Axes] | None":
    """The axes that the caller gives, None where a new figure is to be made.

    Args:
        ax: As for `stacked_axes`.
        count: As for `stacked_axes`.

    Raises:
        ModelInputError: As for `stacked_axes`.
    """
    if ax is None:
        return None
    given = list(ax) if isinstance(ax, Sequence | np.ndarray) else [ax]
    if len(given) != count:
        got = f"{len(given)} axes for {count} signals"
        raise ModelInputError(message(got, f"{count} axes", "give as many axes as signals"))
    return given
