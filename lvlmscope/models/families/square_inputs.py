"""Fixed square inputs: where an image that is padded, resized and cropped to a square lies in it."""

from typing import Any

from lvlmscope.models.families.patch_grids import Axis, Pane, PlacementError, Visual, even

__all__ = ["square_axes", "square_visual", "tower_patches"]


def tower_patches(vision: Any, pixels: tuple[int, int] | None = None) -> tuple[int, int, int]:
    """Width of a tower's square input, patches along it, and the width of a patch.

    The input may be a little wider than its patches (384 pixels hold 27 patches of 14): the rest is seen by none.

    Args:
        vision: The tower's config.
        pixels: Height and width of the model's input, where it is known: a tower that interpolates its positions takes
            other sizes than the config's ``image_size``, which is used without it.

    Returns:
        Pixels, patches, pixels per patch.

    Raises:
        PlacementError: The input is not square.
    """
    side, patch = vision.image_size if pixels is None else pixels, vision.patch_size
    sides = set(side) if isinstance(side, list | tuple) else {side}
    patches = set(patch) if isinstance(patch, list | tuple) else {patch}
    if len(sides) > 1 or len(patches) > 1:
        raise PlacementError(f"the vision tower's input {side} or patch {patch} is not square")
    side, patch = int(sides.pop()), int(patches.pop())
    return side, side // patch, patch


def square_axes(size: tuple[int, int] | None, side: int, settings: Any) -> tuple[Axis, Axis]:
    """Both directions of a square input, as CLIP's, LLaVA's and SigLIP's processors make it.

    They may pad the image to a square, resize it (the shortest edge, or both), and crop the centre.

    Args:
        size: Width and height of the image, None when only the input is known.
        side: Width of the input.
        settings: The image processor; None for CLIP's defaults, which crop the centre.

    Returns:
        Horizontal and vertical.

    Raises:
        PlacementError: The processor makes another size than the tower takes.
    """
    if size is None:
        return Axis(length=float(side)), Axis(length=float(side))
    pads = bool(getattr(settings, "do_pad", False)) and hasattr(settings, "pad_to_square")
    whole = (max(size), max(size)) if pads else size
    before = [(padded - length) // 2 for padded, length in zip(whole, size, strict=True)]
    resized = _resized(whole, side, settings)
    crops = bool(getattr(settings, "do_center_crop", True))
    margins = [(length - side) // 2 if crops else 0 for length in resized]
    if not crops and resized != (side, side):
        raise PlacementError(f"the processor gives {resized[0]} x {resized[1]} pixels to a tower of {side} x {side}")
    scales = [length / made for length, made in zip(whole, resized, strict=True)]
    return (
        Axis(length=float(size[0]), start=before[0] / scales[0] - margins[0], scale=scales[0]),
        Axis(length=float(size[1]), start=before[1] / scales[1] - margins[1], scale=scales[1]),
    )


def _resized(size: tuple[int, int], side: int, settings: Any) -> tuple[int, int]:
    if not getattr(settings, "do_resize", True):
        return size
    target = _entries(getattr(settings, "size", None)) or {"shortest_edge": side}
    if target.get("height") and target.get("width"):
        return int(target["width"]), int(target["height"])
    shortest = int(target.get("shortest_edge") or side)
    width, height = size
    # Both the PIL and the torchvision processors cut the long edge to whole pixels
    return (shortest, int(shortest * height / width)) if width <= height else (int(shortest * width / height), shortest)


def _entries(size: Any) -> dict[str, Any]:
    return {} if size is None else dict(size)


def square_visual(
    size: tuple[int, int] | None, axes: tuple[Axis, Axis], side: int, grid: tuple[int, int], *, tile: int = 0
) -> Visual:
    """One pane of square cells over a square input.

    Args:
        size: Width and height of the image, None when unknown.
        axes: Horizontal and vertical.
        side: Width of the input.
        grid: Tokens along each direction, and input pixels per token.
        tile: Index of the tile.

    Returns:
        The image.
    """
    spans = even(*grid)
    pane = Pane(rows=axes[1].spans(spans), columns=axes[0].spans(spans), tile=tile)
    return Visual(panes=(pane,), size=size or (side, side), pixels="input" if size is None else "image")
