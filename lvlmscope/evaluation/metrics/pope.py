"""POPE: yes/no questions about objects, and how often the answers are right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lvlmscope.errors import EvaluationError, message

__all__ = ["PopeScores", "Verdict", "pope", "verdict"]

Verdict = Literal["yes", "no", "unclear"]


def verdict(answer: str) -> Verdict:
    """Reads a yes or a no from an answer: its first such word; neither is `"unclear"`, never a guess.

    >>> verdict("Yes, there is."), verdict(" no"), verdict("There are nosy dogs.")
    ('yes', 'no', 'unclear')
    """
    found = re.search(r"\b(yes|no|not)\b", answer.lower())
    if found is None:
        return "unclear"
    return "yes" if found[0] == "yes" else "no"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopeScores:
    """Answers to yes/no probes, kept per question.

    An unclear answer counts as wrong for the accuracy and as a "no" for precision and recall; its number is told.

    Attributes:
        said_yes: bool [question]
        unclear: bool [question]
        truth: Whether the object is there. bool [question]
    """

    said_yes: np.ndarray
    unclear: np.ndarray
    truth: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Which answers are right, bool [question]."""
        right: np.ndarray = (self.said_yes == self.truth) & ~self.unclear
        return right

    def summary(self) -> dict[str, int | float]:
        """Questions, accuracy, precision, recall, F1 and yes rate in [0, 1], and the count of unclear answers."""
        hits = int((self.said_yes & self.truth).sum())
        precision = hits / said if (said := int(self.said_yes.sum())) else float("nan")
        recall = hits / there if (there := int(self.truth.sum())) else float("nan")
        both = said + there
        return {
            "questions": len(self.truth),
            "accuracy": float(self.correct.mean()),
            "precision": precision,
            "recall": recall,
            "f1": 2 * hits / both if both else float("nan"),
            "yes_rate": float(self.said_yes.mean()),
            "unclear": int(self.unclear.sum()),
        }


def pope(answers: Sequence[str], truths: Sequence[bool]) -> PopeScores:
    """Scores answers to yes/no probes.

    Args:
        answers: One text for a question.
        truths: Whether the object asked for is in the image.

    Returns:
        Verdicts per question, with the scores in `summary()`.

    Raises:
        EvaluationError: No answers, or lengths that differ.

    Reference:
        Li et al. 2023, arXiv 2305.10355.

    >>> pope(["Yes.", "No.", "Hm."], [True, True, False]).summary()["accuracy"]
    0.333...
    """
    if not answers or len(answers) != len(truths):
        got = f"{len(answers)} answers and {len(truths)} truths"
        raise EvaluationError(message(got, "one truth for each answer", "pair them up", task="score answers"))
    verdicts = np.array([verdict(answer) for answer in answers])
    return PopeScores(said_yes=verdicts == "yes", unclear=verdicts == "unclear", truth=np.array(truths, dtype=bool))
