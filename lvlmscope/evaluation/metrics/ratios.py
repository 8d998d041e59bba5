"""Ratios of counts, undefined where there is nothing to count."""

import numpy as np

__all__ = ["ratio"]


def ratio(part: int | np.integer, whole: int | np.integer) -> float:
    """`part / whole`; NaN when `whole` is 0.

    Args:
        part: A count.
        whole: The count that it is a part of.

    Examples:
        >>> ratio(1, 4), ratio(0, 0)
        (0.25, nan)
    """
    return float(part) / float(whole) if whole else float("nan")
