"""Verdicts on yes/no questions, as POPE, MME and AMBER score them."""

from dataclasses import dataclass, field

import numpy as np

from lvlmscope.evaluation.metrics.ratios import Counts

__all__ = ["YesNoScores", "verdict_counts"]


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
    def counts(self) -> Counts:
        """What each question counts, int64 [question]; see `verdict_counts`."""
        return verdict_counts(self)

    @property
    def disagreements(self) -> dict[str, int]:
        """By each other parser, on how many answers it reads another verdict."""
        return {name: int(other.sum()) for name, other in self.differs.items()}


def verdict_counts(verdicts: YesNoScores) -> dict[str, np.ndarray]:
    """What each question counts: what was said, what is right, and whether they agree.

    Returns:
        int64 [question] by name.
    """
    said_yes, unclear, truth = verdicts.said_yes, verdicts.unclear, verdicts.truth
    said_no = ~said_yes & ~unclear
    flags = {
        "questions": np.ones_like(truth),
        "correct": verdicts.correct,
        "said_yes": said_yes,
        "said_no": said_no,
        "truth": truth,
        "absent": ~truth,
        "true_yes": said_yes & truth,
        "true_no": said_no & ~truth,
        "unclear": unclear,
        "parsers_differ": np.any([np.zeros_like(truth), *verdicts.differs.values()], axis=0),
    }
    return {name: flag.astype(np.int64) for name, flag in flags.items()}
