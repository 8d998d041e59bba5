"""The maps that an overlay draws over the image: values of boxes that do not overlap, smoothed on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lvlmscope.plot.data.box_raster import add_up, overlapping, rastered, smoothed
from lvlmscope.plot.data.image_boxes import largest_area
from lvlmscope.traces.token_layout import Box

__all__ = ["LEVELS", "OverlayMaps", "OverlayStyle", "PatchMap", "overlay_maps"]

LEVELS: Final = (0.25, 0.5, 0.75)  # of the highest value: where contour lines run


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayStyle:
    """How values are drawn over the image.

    Attributes:
        alpha: Opacity, from 0 to 1.
        contour: Lines at a quarter, a half and three quarters of the highest value.
        smoothing: Standard deviation of a blur in widths of the largest patch; 0 for none.
    """

    alpha: float
    contour: bool
    smoothing: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchMap:
    """One map.

    Attributes:
        boxes: Boxes that do not overlap.
        values: One per box.
        raster: The blurred values ``[row, column]``; None without smoothing.
    """

    boxes: list[Box]
    values: np.ndarray
    raster: np.ndarray | None

    @property
    def shown(self) -> np.ndarray:
        """The values that the colours stand for."""
        return self.values if self.raster is None else self.raster

    @property
    def undefined_note(self) -> str:
        """How many patches have no value; empty when all have one."""
        missing = int((~np.isfinite(self.values)).sum())
        return f"grey: not defined ({missing} of {self.values.size} patches)" if missing else ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverlayMaps:
    """The maps of all panels and their texts.

    Attributes:
        maps: One per panel.
        titles: Two lines for each.
        label: Of the colour bar.
        note: Under the figure; may be empty.
    """

    maps: list[PatchMap]
    titles: list[tuple[str, str]]
    label: str
    note: str


def overlay_maps(
    values: Sequence[np.ndarray],
    boxes: list[Box],
    size: tuple[int, int],
    *,
    smoothing: float,
    titles: list[tuple[str, str]],
    label: str,
    note: str = "",
) -> OverlayMaps:
    """Maps of all panels; values of overlapping tokens are added up, and the label says so.

    Args:
        values: For each panel one value per box.
        boxes: Left, top, right, bottom.
        size: Width and height of the image.
        smoothing: Standard deviation of a blur in widths of the largest patch; 0 for none.
        titles: Two lines for each panel.
        label: Of the colour bar, before overlaps and smoothing are noted.
        note: Under the figure.
    """
    unit, panels = largest_area(boxes), list(values)
    if overlapping(boxes, size):
        on_patch = "on a patch" in label
        label = label.replace("on a patch", "per largest patch") if on_patch else f"{label}, per largest patch"
        added = [add_up(boxes, one, unit) for one in panels]
        boxes, panels = added[0][0], [parts for _, parts in added]
    label += f"; blurred over {smoothing:g} patches" if smoothing else ""
    maps = [_patch_map(boxes, one, size, smoothing * unit**0.5) for one in panels]
    return OverlayMaps(maps=maps, titles=titles, label=label, note=note)


def _patch_map(boxes: list[Box], values: np.ndarray, size: tuple[int, int], blur: float) -> PatchMap:
    """One map; the blur is a standard deviation in pixels of the image, 0 for none."""
    if not blur:
        return PatchMap(boxes=boxes, values=values, raster=None)
    raster = rastered(boxes, values, size)
    return PatchMap(boxes=boxes, values=values, raster=smoothed(raster, blur * len(raster) / size[1]))
