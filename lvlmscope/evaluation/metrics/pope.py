"""POPE: yes/no questions about objects, and how often the answers are right."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from lvlmscope.errors import task
from lvlmscope.evaluation.metrics.answer_rows import label_rows, require_paired, text_rows
from lvlmscope.evaluation.metrics.ratios import Formulas, scores
from lvlmscope.evaluation.metrics.yes_no import Parser, read_verdicts
from lvlmscope.evaluation.metrics.yes_no_scores import YesNoScores
from lvlmscope.interface.parameter_checks import checked

__all__ = ["POPE_SCORES", "PopeScores", "pope"]

POPE_SCORES: Final[Formulas] = {
    "accuracy": (("correct",), ("questions",)),
    "precision": (("true_yes",), ("said_yes",)),
    "recall": (("true_yes",), ("truth",)),
    "f1": (("true_yes", "true_yes"), ("said_yes", "truth")),
    "yes_rate": (("said_yes",), ("questions",)),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopeScores(YesNoScores):
    """Answers to yes/no probes, kept per question.

    An unclear answer counts as wrong for the accuracy and as a "no" for precision, recall and yes rate; how many there
    are is counted apart.
    """

    def summary(self) -> dict[str, int | float]:
        """Questions, accuracy, precision, recall, F1 and yes rate in [0, 1], and counts.

        The counts: unclear answers, and answers on which the parsers of `verdict` do not all agree.
        """
        counts = self.counts
        return {
            "questions": len(self.truth),
            **scores(counts, POPE_SCORES),
            "unclear": int(counts["unclear"].sum()),
            "parsers_differ": int(counts["parsers_differ"].sum()),
        }


@checked
@task("score answers")
def pope(answers: Iterable[str], truths: Iterable[Any], *, parser: Parser = "strict") -> PopeScores:
    """Scores answers to yes/no probes.

    Args:
        answers: One text for a question: a list, an array or a column.
        truths: Whether the object asked for is in the image: booleans, 0 and 1, or the published labels "yes" and
            "no" in any letter case.
        parser: How a verdict is read (see `verdict`); `"official"` for figures that are compared with published ones.

    Returns:
        Verdicts per question, with the scores in `summary()` and the parsers' `disagreements`.

    Raises:
        EvaluationError: No answers, lengths that differ, an answer that is no text, or a label that is neither yes nor
            no (with its row).

    Reference:
        Li et al. 2023, arXiv 2305.10355.

    >>> scores = pope(["Yes.", "There isn't.", "Hm."], ["yes", "no", "no"])
    >>> scores.summary()["accuracy"], scores.disagreements
    (0.666..., {'official': 2, 'first_word': 1})
    """
    texts, truth = text_rows(answers, "answers"), label_rows(truths, "truths")
    require_paired(answers=texts, truths=truth)
    verdicts, differs = read_verdicts(texts, parser)
    return PopeScores(
        said_yes=verdicts == "yes",
        unclear=verdicts == "unclear",
        truth=truth,
        parser=parser,
        differs=differs,
    )
