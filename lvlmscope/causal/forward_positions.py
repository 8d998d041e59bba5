"""Which positions of prompt and answer the rows of a layer stand at, in one forward or step by step."""

__all__ = ["ForwardPositions"]


class ForwardPositions:
    """Counts each layer's rows while an answer is replayed."""

    def __init__(self, first_end: int) -> None:
        """Prepare.

        Args:
            first_end: Where the first forward ends: all positions, or those of the prompt step by step.
        """
        self._first_end = first_end
        self._ends: dict[int, int] = {}

    def begin(self) -> None:
        """Start from the prompt again."""
        self._ends = {}

    def of(self, layer: int, count: int) -> range:
        """Positions of the rows of a layer's next call.

        Args:
            layer: Its number.
            count: Number of rows; the last positions where a layer gets fewer than there are (Gemma4).

        Returns:
            The positions.

        >>> steps = ForwardPositions(5)
        >>> steps.of(0, 5), steps.of(0, 1), steps.of(1, 2)
        (range(0, 5), range(5, 6), range(3, 5))
        """
        end = self._ends[layer] = self._ends[layer] + count if layer in self._ends else self._first_end
        return range(end - count, end)
