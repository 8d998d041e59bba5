"""Where each key position comes from: system, image, question or answer, and which pixels an image token covers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch

from lvlmscope.errors import GeometryError, message

__all__ = ["Box", "Cell", "ImageLayout", "Kind", "Layout", "Role"]

Kind = Literal["system", "image", "question", "answer"]
Role = Literal["patch", "newline", "separator", "query"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one image key stands for.

    Attributes:
        key: Absolute position on the key axis, 0-based, without padding.
        image: Index of the image in the prompt, 0-based.
        role: A patch of pixels, the newline at a row's end, a separator, or a query token that has no place.
        tile: Index of the tile (0 for a whole image; tiled families count the overview as tile 0).
        frame: Index of the video frame, 0 for a still image.
        row: Row in the tile's grid, -1 where there is none.
        column: Column in the tile's grid, -1 where there is none.
        box: Left, top, right, bottom in pixels of the image (see ``ImageLayout.pixels``), None where there is none.
    """

    key: int
    image: int
    role: Role = "patch"
    tile: int = 0
    frame: int = 0
    row: int = -1
    column: int = -1
    box: Box | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """One image of the prompt and the cells that stand for it.

    Attributes:
        cells: One per image key, in the order of the keys.
        size: Width and height of the image the boxes refer to, None when not known.
        grid: Rows and columns of the first tile, None when the geometry is not known.
        pixels: Whether boxes are in pixels of the image given ("image") or of the model's input ("input").
        reason: Why the geometry is not known, empty when it is.
    """

    cells: tuple[Cell, ...]
    size: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    pixels: Literal["image", "input"] = "image"
    reason: str = ""

    def patches(self, *, tile: int = 0, frame: int = 0) -> tuple[Cell, ...]:
        """The cells of one tile and frame that cover pixels.

        Args:
            tile: Index of the tile.
            frame: Index of the video frame.

        Returns:
            Cells in the order of the keys.

        Raises:
            GeometryError: The geometry is not known, with the reason.
        """
        self._require_places()
        return tuple(c for c in self.cells if c.role == "patch" and c.tile == tile and c.frame == frame)

    def placed(self) -> tuple[Cell, ...]:
        """The cells of all tiles and frames that cover pixels of the image; padding and newlines have none.

        Returns:
            Cells with a box, in the order of the keys.

        Raises:
            GeometryError: The geometry is not known, with the reason.
        """
        self._require_places()
        return tuple(cell for cell in self.cells if cell.box is not None)

    def _require_places(self) -> None:
        if self.reason:
            expected = "attention per key, without a place in the image"
            raise GeometryError(
                message(self.reason, expected, "use the key axis instead of pixels", task="locate image tokens")
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The kind of every key position, and the images among them.

    Attributes:
        kinds: One kind per key position. "system" is everything before the first image; "question" is prompt text
            after it, also between images; a prompt without an image is all "question".
        images: One entry per image, in the order of the prompt.
    """

    kinds: tuple[Kind, ...]
    images: tuple[ImageLayout, ...] = ()

    def keys_of(self, kind: Kind) -> torch.Tensor:
        """The positions of one kind.

        Args:
            kind: "system", "image", "question" or "answer".

        Returns:
            bool ``[key]``.

        Examples:
            >>> Layout(kinds=("system", "image", "question")).keys_of("image")
            tensor([False,  True, False])
        """
        return torch.tensor([k == kind for k in self.kinds], dtype=torch.bool)

    def keys_of_image(self, image: int) -> torch.Tensor:
        """The positions of one image.

        Args:
            image: Index of the image, 0-based.

        Returns:
            bool ``[key]``.
        """
        found = torch.zeros(len(self.kinds), dtype=torch.bool)
        found[[cell.key for cell in self.images[image].cells]] = True
        return found

    def keys_in(self, image: int, box: Box) -> torch.Tensor:
        """The positions of the tokens that show some part of a box: of every tile and frame that does.

        Args:
            image: Index of the image, 0-based.
            box: Left, top, right, bottom in pixels (see ``ImageLayout.pixels``).

        Returns:
            bool ``[key]``.

        Raises:
            GeometryError: The geometry is not known, with the reason.

        Examples:
            >>> cell = Cell(key=1, image=0, box=(0.0, 0.0, 8.0, 8.0))
            >>> layout = Layout(kinds=("system", "image"), images=(ImageLayout(cells=(cell,)),))
            >>> layout.keys_in(0, (7.0, 7.0, 9.0, 9.0))
            tensor([False,  True])
        """
        left, top, right, bottom = box
        found = torch.zeros(len(self.kinds), dtype=torch.bool)
        for cell in self.images[image].placed():
            x0, y0, x1, y1 = cell.box or (0.0, 0.0, 0.0, 0.0)
            found[cell.key] = x0 < right and left < x1 and y0 < bottom and top < y1
        return found

    def keys_at(self, image: int, x: float, y: float) -> torch.Tensor:
        """The positions of the tokens that show a point: an edge belongs to the token right of or below it.

        Args:
            image: Index of the image, 0-based.
            x: Pixels from the left.
            y: Pixels from the top.

        Returns:
            bool ``[key]``.

        Raises:
            GeometryError: The geometry is not known, with the reason.
        """
        found = torch.zeros(len(self.kinds), dtype=torch.bool)
        for cell in self.images[image].placed():
            x0, y0, x1, y1 = cell.box or (0.0, 0.0, 0.0, 0.0)
            found[cell.key] = x0 <= x < x1 and y0 <= y < y1
        return found

    def select(self, keys: Sequence[int]) -> "Layout":
        """The layout of some keys, numbered anew in their order.

        Args:
            keys: Absolute positions to keep, ascending.

        Returns:
            A smaller layout.

        Examples:
            >>> Layout(kinds=("system", "image", "answer")).select([1, 2]).kinds
            ('image', 'answer')
        """
        places = {key: place for place, key in enumerate(keys)}
        images = tuple(
            replace(image, cells=tuple(replace(c, key=places[c.key]) for c in image.cells if c.key in places))
            for image in self.images
        )
        return Layout(kinds=tuple(self.kinds[key] for key in keys), images=images)

    def cell_of(self, key: int) -> Cell | None:
        """What an image key stands for, None for a text key.

        Args:
            key: Absolute position.

        Returns:
            The cell, or None.
        """
        cells = (cell for image in self.images for cell in image.cells)
        return next((cell for cell in cells if cell.key == key), None)

    def to_json(self) -> dict[str, Any]:
        """The layout as plain JSON values, kinds run-length coded."""
        runs: list[list[Any]] = []
        for kind in self.kinds:
            if runs and runs[-1][0] == kind:
                runs[-1][1] += 1
            else:
                runs.append([kind, 1])
        return {"kinds": runs, "images": [_image_to_json(image) for image in self.images]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The layout back from ``to_json``.

        Args:
            data: What ``to_json`` gave.

        Returns:
            An equal layout.
        """
        kinds = tuple(kind for kind, count in data["kinds"] for _ in range(count))
        return cls(kinds=kinds, images=tuple(_image_from_json(image) for image in data["images"]))


def _image_to_json(image: ImageLayout) -> dict[str, Any]:
    cells = [[c.key, c.image, c.role, c.tile, c.frame, c.row, c.column, c.box] for c in image.cells]
    size, grid = image.size, image.grid
    return {"cells": cells, "size": size, "grid": grid, "pixels": image.pixels, "reason": image.reason}


def _pair(values: Sequence[int] | None) -> tuple[int, int] | None:
    return None if values is None else (values[0], values[1])


def _image_from_json(data: dict[str, Any]) -> ImageLayout:
    names = ("key", "image", "role", "tile", "frame", "row", "column")
    cells = tuple(
        Cell(**dict(zip(names, c[:7], strict=True)), box=None if c[7] is None else tuple(c[7])) for c in data["cells"]
    )
    size, grid = _pair(data["size"]), _pair(data["grid"])
    return ImageLayout(cells=cells, size=size, grid=grid, pixels=data["pixels"], reason=data["reason"])
