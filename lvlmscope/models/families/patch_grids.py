"""Grids of image tokens: which span of the image each row and column of tokens covers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from lvlmscope.traces.token_layout import Cell

__all__ = ["Axis", "Pane", "PlacementError", "Span", "Visual", "even", "merged"]

Span = tuple[float, float]


class PlacementError(LookupError):
    """Why tokens have no boxes in the image: becomes the layout's reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction of a model's input: its pixels in coordinates of the image.

    Attributes:
        length: Pixels of the image; spans are cut to it.
        start: Input pixel at which the image begins: positive where the input is padded, negative where it is a crop.
        scale: Image pixels per input pixel.
    """

    length: float
    start: float = 0.0
    scale: float = 1.0

    @classmethod
    def stretched(cls, length: int, onto: int) -> Self:
        """An image of some length resized to fill the input.

        Args:
            length: Pixels of the image.
            onto: Pixels of the input.

        Returns:
            The axis.

        Examples:
            >>> Axis.stretched(100, 50).to_image((0.0, 10.0))
            (0.0, 20.0)
        """
        return cls(length=float(length), scale=length / onto)

    def to_image(self, span: Span) -> Span | None:
        """A span of input pixels in the image's pixels, None where it shows padding only.

        Args:
            span: First and last edge.

        Returns:
            Edges within the image.

        Examples:
            >>> Axis(length=10.0, start=4.0).to_image((0.0, 8.0))
            (0.0, 4.0)
        """
        low, high = ((edge - self.start) * self.scale for edge in span)
        low, high = max(low, 0.0), min(high, self.length)
        return (low, high) if low < high else None

    def spans(self, spans: Sequence[Span]) -> tuple[Span | None, ...]:
        """``to_image`` for each span."""
        return tuple(self.to_image(span) for span in spans)


def even(count: int, step: int, *, start: int = 0) -> tuple[Span, ...]:
    """Adjacent spans of one length.

    Args:
        count: Number of spans.
        step: Length of each.
        start: First edge.

    Returns:
        The spans in order.

    Examples:
        >>> even(2, 8)
        ((0.0, 8.0), (8.0, 16.0))
    """
    return tuple((float(start + index * step), float(start + (index + 1) * step)) for index in range(count))


def merged(spans: Sequence[Span], count: int) -> tuple[Span, ...]:
    """Span of each token after ``interpolate(mode="bilinear")`` over tokens: of all tokens that it mixes.

    Torch reads output i at ``(i + 0.5) * input / output - 0.5``, between two neighbours; with ``align_corners=False``.

    Args:
        spans: One per token before.
        count: Tokens after.

    Returns:
        One per token after; neighbours overlap where they share a token.

    Examples:
        >>> merged(even(4, 1), 2)
        ((0.0, 2.0), (2.0, 4.0))
    """
    found = []
    for index in range(count):
        # As integers over 2 * count, so that a weight of zero is exactly zero
        position = max((2 * index + 1) * len(spans) - count, 0)
        first, rest = divmod(position, 2 * count)
        last = min(first + (rest > 0), len(spans) - 1)
        found.append((spans[first][0], spans[last][1]))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """A grid of tokens in reading order: a whole image, a tile of it, or a frame.

    Attributes:
        rows: The span each row covers in the image, None for padding.
        columns: The span each column covers.
        tile: Index of the tile.
        frame: Index of the frame.
        newline: A newline token after each row, one at the end, or none.
        leading: Tokens before the grid without a box, such as a tile's class token.
    """

    rows: tuple[Span | None, ...]
    columns: tuple[Span | None, ...]
    tile: int = 0
    frame: int = 0
    newline: Literal["none", "row", "end"] = "none"
    leading: int = 0

    @property
    def tokens(self) -> int:
        """Number of tokens, those without a box included."""
        newlines = {"none": 0, "row": len(self.rows), "end": 1}[self.newline]
        return self.leading + len(self.rows) * len(self.columns) + newlines

    def cells(self, keys: Sequence[int], image: int) -> Iterator[Cell]:
        """One cell per key.

        Args:
            keys: Positions of the pane's tokens, in order.
            image: Index of the image.

        Yields:
            Cells in the order of the keys.
        """
        for key in keys[: self.leading]:
            yield Cell(key=key, image=image, role="query", tile=self.tile, frame=self.frame)
        width = len(self.columns) + (self.newline == "row")
        for number, key in enumerate(keys[self.leading :]):
            row, column = divmod(number, width)
            if row == len(self.rows) or column == len(self.columns):
                row = row if self.newline == "row" else -1
                yield Cell(key=key, image=image, role="newline", tile=self.tile, frame=self.frame, row=row)
                continue
            ys, xs = self.rows[row], self.columns[column]
            box = None if ys is None or xs is None else (xs[0], ys[0], xs[1], ys[1])
            yield Cell(key=key, image=image, tile=self.tile, frame=self.frame, row=row, column=column, box=box)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visual:
    """One image or video of the prompt as a set of token grids.

    Attributes:
        panes: In the order of their tokens.
        size: Width and height that the spans refer to.
        pixels: Whether that is the image given or the model's input.
        video: Whether its tokens are the video's.
    """

    panes: tuple[Pane, ...]
    size: tuple[int, int]
    pixels: Literal["image", "input"]
    video: bool = False

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return sum(pane.tokens for pane in self.panes)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tile 0."""
        first = next((pane for pane in self.panes if pane.tile == 0), self.panes[0])
        return len(first.rows), len(first.columns)

    def cells(self, keys: Sequence[int], image: int) -> tuple[Cell, ...]:
        """One cell per key.

        Args:
            keys: Positions of the visual's tokens, in order.
            image: Its index.

        Returns:
            Cells in the order of the keys.
        """
        found: list[Cell] = []
        for pane in self.panes:
            found += pane.cells(keys[len(found) : len(found) + pane.tokens], image)
        return tuple(found)
