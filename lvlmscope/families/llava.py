"""LLaVA-1.5: one square picture, resized and centre-cropped, one token per patch in reading order."""

from collections.abc import Sequence
from typing import Any

import torch

from lvlmscope.families.default import DefaultFamily
from lvlmscope.layout import Box, Cell, ImageLayout

__all__ = ["LlavaFamily"]


class LlavaFamily(DefaultFamily):
    """``LlavaForConditionalGeneration`` with a square vision tower (CLIP, SigLIP)."""

    name = "llava"
    max_images: int | None = 1

    def claims(self, model: torch.nn.Module) -> bool:
        """LLaVA with a tower of fixed image and patch size; Pixtral's tower keeps the picture's shape."""
        config = model.config
        vision = getattr(config, "vision_config", None)
        return getattr(config, "model_type", "") == "llava" and getattr(vision, "model_type", "") != "pixtral"

    def image_layouts(
        self,
        model: torch.nn.Module,
        keys: torch.Tensor,
        inputs: dict[str, Any],
        *,
        processor: Any = None,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> tuple[ImageLayout, ...]:
        """One grid per picture; unknown when the token count is not the tower's patch count."""
        vision = model.config.vision_config  # type: ignore[union-attr]
        side = vision.image_size // vision.patch_size  # type: ignore[operator, union-attr]
        per_image = int(side) ** 2
        unknown = super().image_layouts(model, keys, inputs, processor=processor, sizes=sizes)
        if len(keys) % per_image:
            return unknown
        found = []
        for index, chunk in enumerate(keys.split(per_image)):
            size = sizes[index] if index < len(sizes) else None
            whole = source_box(size, int(vision.image_size), processor)  # type: ignore[arg-type, union-attr]
            cells = grid_cells(chunk.tolist(), index, (int(side), int(side)), whole)
            pixels: Any = "input" if size is None else "image"
            square = int(vision.image_size)  # type: ignore[arg-type, union-attr]
            found.append(
                ImageLayout(cells=cells, size=size or (square, square), grid=(int(side), int(side)), pixels=pixels)
            )
        return tuple(found)


def grid_cells(keys: Sequence[int], image: int, grid: tuple[int, int], whole: Box) -> tuple[Cell, ...]:
    """Cells in reading order over a box.

    Args:
        keys: Positions of the tokens.
        image: Index of the image.
        grid: Rows and columns.
        whole: The box they cover together, in pixels.

    Returns:
        One cell per key.
    """
    rows, columns = grid
    left, top, right, bottom = whole
    width, height = (right - left) / columns, (bottom - top) / rows
    cells = []
    for number, key in enumerate(keys):
        row, column = divmod(number, columns)
        x, y = left + column * width, top + row * height
        cells.append(Cell(key=key, image=image, row=row, column=column, box=(x, y, x + width, y + height)))
    return tuple(cells)


def source_box(size: tuple[int, int] | None, side: int, processor: Any) -> Box:
    """The part of the picture that the model's square input shows, in the picture's pixels.

    CLIP's processor resizes the shortest edge, then crops the centre; one that resizes to a fixed height and width
    shows the whole picture, stretched.

    Args:
        size: Width and height of the picture, None when only the model's input is known.
        side: Width and height of the model's input.
        processor: The processor, None for CLIP's defaults.

    Returns:
        Left, top, right, bottom.
    """
    if size is None:
        return (0.0, 0.0, float(side), float(side))
    width, height = size
    settings = getattr(processor, "image_processor", None)
    crops = bool(getattr(settings, "do_center_crop", True))
    resize: Any = getattr(settings, "size", None)
    shortest = side if resize is None else resize.get("shortest_edge")
    if shortest is None or not crops:
        return (0.0, 0.0, float(width), float(height))
    scale = shortest / min(width, height)
    # The processor truncates the long edge to whole pixels, and halves the margin downwards
    resized = (int(width * scale + 1e-6), int(height * scale + 1e-6))
    offsets = ((resized[0] - side) // 2, (resized[1] - side) // 2)
    sx, sy = width / resized[0], height / resized[1]
    left, top = offsets[0] * sx, offsets[1] * sy
    return (left, top, left + side * sx, top + side * sy)
