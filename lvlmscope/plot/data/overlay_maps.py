"""The maps that an overlay draws over the image: values of boxes that do not overlap, smoothed on request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lvlmscope.plot.data.box_raster import add_up, overlapping, rastered, smoothed
from lvlmscope.plot.data.colour_scale import Scale, ScaleChoice, scales_of
from lvlmscope.plot.data.image_boxes import largest_area
from lvlmscope.plot.data.unit_labels import counted
from lvlmscope.traces.token_layout import Box

__all__ = ["LARGE", "LEVELS", "OverlayMaps", "OverlayStyle", "PatchMap", "PatchValues", "overlay_maps", "shared_bar"]

LEVELS: Final = (0.25, 0.5, 0.75)  # of the highest value: where contour lines run
LARGE: Final = 12  # panels, above which they are small


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayStyle:
    """How values are drawn over the image.

    Attributes:
        scale: Which panels share a scale, and up to where it goes.
        vmax: Value of the last colour; None for what `scale` says.
        colours: Name of a colour map; None for the usual ones.
        alpha: Opacity of the highest value, from 0 to 1.
        contour: Lines at a quarter, a half and three quarters of the highest value.
        smoothing: Standard deviation of a blur in widths of the largest patch; 0 for none.
    """

    scale: ScaleChoice
    vmax: float | None = None
    colours: str | None = None
    alpha: float
    contour: bool
    smoothing: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchValues:
    """What a panel shows, before overlapping tokens are added up.

    Attributes:
        title: Its lines: a name, then shares or sums.
        values: One per token drawn; NaN where not defined or left out.
        left_out: Sinks among the tokens drawn that have no value because they are left out.
    """

    title: tuple[str, ...]
    values: np.ndarray
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchMap:
    """One map.

    Attributes:
        title: Lines over it.
        boxes: Boxes that do not overlap.
        values: One per box.
        raster: The blurred values ``[row, column]``; None without smoothing.
        scale: Range and colours.
        left_out: Sinks without a value because they are left out.
    """

    title: tuple[str, ...]
    boxes: list[Box]
    values: np.ndarray
    raster: np.ndarray | None
    scale: Scale
    left_out: int

    @property
    def shown(self) -> np.ndarray:
        """The values that the colours stand for."""
        return self.values if self.raster is None else self.raster

    @property
    def note(self) -> str:
        """Which patches have no value, and why; empty when all have one."""
        missing = int((~np.isfinite(self.values)).sum())
        if missing and self.left_out:
            return f"grey: {counted(self.left_out, 'sink')} left out"
        return f"grey: not defined ({missing} of {self.values.size} patches)" if missing else ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverlayMaps:
    """The panels of a figure and their texts.

    Attributes:
        maps: One per panel.
        bar: Range and colours of the one colour bar.
        label: Of the colour bar.
        note: Under the label; may be empty.
        small: There are many panels, with one line of title each.
    """

    maps: list[PatchMap]
    bar: Scale
    label: str
    note: str
    small: bool


def overlay_maps(
    panels: Sequence[PatchValues],
    boxes: list[Box],
    size: tuple[int, int],
    style: OverlayStyle,
    *,
    label: str,
    note: str = "",
) -> OverlayMaps:
    """Maps of all panels; values of overlapping tokens are added up, and the label says so.

    Args:
        panels: Values and titles.
        boxes: Left, top, right, bottom, one per token.
        size: Width and height of the image.
        style: How they are drawn.
        label: Of the colour bar, before overlaps, smoothing and the scale are noted.
        note: Under it.
    """
    unit, values = largest_area(boxes), [panel.values for panel in panels]
    if overlapping(boxes, size):
        on_patch = "on a patch" in label
        label = label.replace("on a patch", "per largest patch") if on_patch else f"{label}, per largest patch"
        added = [add_up(boxes, one, unit) for one in values]
        boxes, values = added[0][0], [parts for _, parts in added]
    label += f"; blurred over {style.smoothing:g} patches" if style.smoothing else ""
    blurs = [_blurred(boxes, one, size, style.smoothing * unit**0.5) for one in values]
    shown = [one if raster is None else raster for one, raster in zip(values, blurs, strict=True)]
    scales = scales_of(shown, style.scale, vmax=style.vmax, colours=style.colours)
    apart, small = len({scale.high for scale in scales}) > 1, len(panels) > LARGE
    maps = [
        PatchMap(
            title=panel.title + ((f"scale to {scale.high:.2g}",) if apart and not small else ()),
            boxes=boxes,
            values=one,
            raster=raster,
            scale=scale,
            left_out=panel.left_out,
        )
        for panel, one, raster, scale in zip(panels, values, blurs, scales, strict=True)
    ]
    bar, beyond = shared_bar(scales)
    remarks = [note, beyond, _note_of_small(maps) if small else ""]
    return OverlayMaps(maps=maps, bar=bar, label=label, note="; ".join(filter(None, remarks)), small=small)


def shared_bar(scales: Sequence[Scale]) -> tuple[Scale, str]:
    """The scale of one colour bar for all panels, from 0 to 1 where they differ, and what a reader must know of it."""
    bar, above = scales[0], [scale.beyond for scale in scales if scale.beyond]
    if len({scale.high for scale in scales}) == 1:
        return bar, f"last colour: {bar.beyond}" if bar.beyond else ""
    told = "1: the end of each panel's own scale"
    told += f"; {counted(len(above), 'panel')} with values above it" if above else ""
    return replace(bar, low=-1.0 if bar.low < 0 else 0.0, high=1.0, beyond=above[0] if above else ""), told


def _note_of_small(maps: list[PatchMap]) -> str:
    """What panels without room for a remark have to say."""
    noted = [one for one in maps if one.note]
    why = "left out as sinks" if all(one.left_out for one in noted) else "not defined"
    return f"grey: {why}, in {counted(len(noted), 'panel')}" if noted else ""


def _blurred(boxes: list[Box], values: np.ndarray, size: tuple[int, int], blur: float) -> np.ndarray | None:
    """A blurred raster; the blur is a standard deviation in pixels of the image, 0 for none."""
    if not blur:
        return None
    raster = rastered(boxes, values, size)
    return smoothed(raster, blur * len(raster) / size[1])
