"""Where the image keys of a sequence lie, known without looking at the device again."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool

__all__ = ["ImageLayout", "after_last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """Image keys of a batch, as plain numbers.

    Attributes:
        present: Whether any sample has an image key.
        span: First position and the one after the last, where the image keys of every sample are exactly that block;
            None where they are several blocks, or differ between samples.
    """

    present: bool
    span: tuple[int, int] | None

    @classmethod
    def of(cls, image_keys: Bool[torch.Tensor, "batch key"]) -> Self:
        """Read a mask; this waits for the device once.

        Args:
            image_keys: bool ``[batch, key]``.

        Returns:
            The layout.

        >>> ImageLayout.of(torch.tensor([[False, True, True, False]])).span
        (1, 3)
        """
        rows = image_keys.tolist()
        present = any(True in row for row in rows)
        if not present or any(row != rows[0] for row in rows):
            return cls(present=present, span=None if present else (0, 0))
        first, count = rows[0].index(True), sum(rows[0])
        return cls(present=True, span=(first, first + count) if all(rows[0][first : first + count]) else None)

    def span_on(self, positions: int, keys: int) -> tuple[int, int] | None:
        """The block on a layer's key axis: a window keeps the last keys, a static cache has spare ones at the end.

        Args:
            positions: Length of the sequence so far.
            keys: Length of the layer's key axis.

        Returns:
            First key and the one after the last, or None.

        >>> ImageLayout(present=True, span=(1, 3)).span_on(6, 4)
        (0, 1)
        """
        if self.span is None:
            return None
        cut = max(positions - keys, 0)
        return max(self.span[0] - cut, 0), max(self.span[1] - cut, 0)


def after_last(image_keys: Bool[torch.Tensor, "*lead key"]) -> Bool[torch.Tensor, "*lead key"]:
    """Positions after the last image key; all where there is none.

    Args:
        image_keys: bool ``[..., key]``.

    >>> after_last(torch.tensor([True, False, True, False])).tolist()
    [False, False, False, True]
    """
    return image_keys.flip(-1).cumsum(-1).flip(-1) == 0
