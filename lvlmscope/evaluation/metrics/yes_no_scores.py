"""Verdicts on yes/no questions, as POPE, MME and AMBER score them."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["YesNoScores"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class YesNoScores:
    """Verdicts on yes/no questions, kept per question; an unclear answer is a wrong one.

    Attributes:
        said_yes: bool [question]
        unclear: bool [question]
        truth: Whether "yes" is right. bool [question]
        parser: Which parser read the answers.
        differs: By each other parser, whether it reads another verdict. bool [question]
    """

    said_yes: np.ndarray
    unclear: np.ndarray
    truth: np.ndarray
    parser: str = "strict"
    differs: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def correct(self) -> np.ndarray:
        """Which answers are right, bool [question]."""
        right: np.ndarray = (self.said_yes == self.truth) & ~self.unclear
        return right

    @property
    def disagreements(self) -> dict[str, int]:
        """By each other parser, on how many answers it reads another verdict."""
        return {name: int(other.sum()) for name, other in self.differs.items()}
