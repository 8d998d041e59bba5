"""MME: pairs of yes/no questions about an image, right by questions and by pairs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.answer_rows import label_rows, require_paired, text_rows
from lvlmscope.evaluation.metrics.ratios import Counts, Formulas, scores
from lvlmscope.evaluation.metrics.yes_no import Parser, Verdict, read_verdicts
from lvlmscope.evaluation.metrics.yes_no_scores import YesNoScores, verdict_counts
from lvlmscope.interface.parameter_checks import checked

__all__ = ["MME_SCORES", "MmeScores", "mme"]

MME_SCORES: Final[Formulas] = {
    "acc": (("correct",), ("questions",)),
    "acc_plus": (("both_correct",), ("questions",)),  # both questions of an image count, or neither
    "score": (("points",), ("questions",)),
    "yes_rate": (("said_yes",), ("questions",)),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MmeScores(YesNoScores):
    """Answers to MME's questions, kept per question; an unclear answer is a wrong one.

    Attributes:
        image: Number of the pair that a question belongs to. int64 [question]
        subtask: Name of each question's subtask. str [question]
    """

    image: np.ndarray
    subtask: np.ndarray

    @property
    def counts(self) -> Counts:
        """What each question counts, by the names in `MME_SCORES` and those of `verdict_counts`, int64 [question]."""
        right = np.bincount(self.image[self.correct], minlength=int(self.image.max()) + 1)
        both = (right == 2)[self.image].astype(np.int64)
        return verdict_counts(self) | {"both_correct": both, "points": 100 * (self.correct.astype(np.int64) + both)}

    def summary(self, subtask: str | None = None) -> dict[str, int | float]:
        """Questions, acc, acc+ and yes rate in [0, 1], the score `100 acc + 100 acc+`, and unclear answers.

        Args:
            subtask: One subtask; None for all questions together.

        Raises:
            EvaluationError: No such subtask.
        """
        chosen = np.ones(len(self.truth), dtype=bool) if subtask is None else self.subtask == subtask
        if not chosen.any():
            names = ", ".join(dict.fromkeys(self.subtask.tolist()))
            raise EvaluationError(message(f"subtask {subtask!r}", names, "choose one of these", task="summarise MME"))
        counts = {name: values[chosen] for name, values in self.counts.items()}
        return {
            "questions": int(chosen.sum()),
            **scores(counts, MME_SCORES),
            "unclear": int(counts["unclear"].sum()),
        }

    def by_subtask(self) -> dict[str, dict[str, int | float]]:
        """The summary of each subtask; MME's own total is the sum of their scores."""
        return {name: self.summary(name) for name in dict.fromkeys(self.subtask.tolist())}


@checked
@task("score MME")
def mme(
    answers: Iterable[str],
    truths: Iterable[Any],
    images: Iterable[str],
    subtasks: Iterable[str] | None = None,
    *,
    parser: Parser = "strict",
) -> MmeScores:
    """Scores answers to MME's questions, two about each image.

    `acc` is the share of right answers, `acc+` that of images with both answers right.

    Args:
        answers: One text for a question: a list, an array or a column.
        truths: Booleans, 0 and 1, or "yes" and "no" in any letter case.
        images: Name of each question's image.
        subtasks: Name of each question's subtask ("existence", "count", ...); None: one for all.
        parser: How a verdict is read (see `verdict`); `"official"` here is MME's published one: the first four
            letters hold a "yes" or a "no".

    Returns:
        Verdicts per question, with the scores in `summary()` and `by_subtask()`.

    Raises:
        EvaluationError: No answers, lengths that differ, a row that is no text or no label, or an image of a
            subtask without exactly two questions.

    Reference:
        Fu et al. 2023, arXiv 2306.13394, section 2.2.

    >>> scores = mme(["Yes", "No", "Yes", "Yes"], ["yes", "no", "yes", "no"], ["a", "a", "b", "b"])
    >>> scores.summary()["acc"], scores.summary()["acc_plus"], scores.summary()["score"]
    (0.75, 0.5, 125.0)
    """
    texts, truth, names = text_rows(answers, "answers"), label_rows(truths, "truths"), text_rows(images, "images")
    kinds = ["all"] * len(texts) if subtasks is None else text_rows(subtasks, "subtasks")
    require_paired(answers=texts, truths=truth, images=names, subtasks=kinds)
    verdicts, differs = read_verdicts(texts, parser, official=_official)
    return MmeScores(
        said_yes=verdicts == "yes",
        unclear=verdicts == "unclear",
        truth=truth,
        image=_pairs(list(zip(kinds, names, strict=True))),
        subtask=np.array(kinds),
        parser=parser,
        differs=differs,
    )


def _pairs(images: list[tuple[str, str]]) -> np.ndarray:
    numbers = {image: number for number, image in enumerate(dict.fromkeys(images))}
    found = np.array([numbers[image] for image in images], dtype=np.int64)
    counts = np.bincount(found)
    if (counts != 2).any():
        (kind, name), count = list(numbers)[int((counts != 2).argmax())], int(counts[(counts != 2).argmax()])
        got = f"{count} questions about image {name!r} of subtask {kind!r}"
        raise EvaluationError(message(got, "two about each image", "give the image's name with each question"))
    return found


def _official(answer: str) -> Verdict:
    start = answer.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "unclear"
