"""What an answer counts for each metric, item by item; every score is a sum of counts over another."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.datasets.items import Dataset, Item, Metric
from lvlmscope.evaluation.metrics.amber import (
    AMBER_ANSWER_SCORES,
    AMBER_DESCRIPTION_SCORES,
    amber_answers,
    amber_descriptions,
    noun_vocabulary,
)
from lvlmscope.evaluation.metrics.chair import CHAIR_SCORES, chair
from lvlmscope.evaluation.metrics.mme import MME_SCORES, mme
from lvlmscope.evaluation.metrics.pope import POPE_SCORES, pope
from lvlmscope.evaluation.metrics.ratios import Counts, Formulas, terms
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.metrics.yes_no import Parser
from lvlmscope.evaluation.paired_differences import Ratios

__all__ = [
    "DIRECTIONS",
    "SCORES",
    "Counts",
    "caption_vocabulary",
    "count_answers",
    "counted_over",
    "described",
    "ratios",
]

_MENTIONS: Final[Formulas] = {"mentions": (("named",), ("captions",))}
SCORES: Final[Mapping[Metric, Formulas]] = {
    "chair": {**CHAIR_SCORES, **_MENTIONS},
    "pope": POPE_SCORES,
    "mme": MME_SCORES,
    "amber": {
        **AMBER_DESCRIPTION_SCORES,
        **_MENTIONS,
        **{name: AMBER_ANSWER_SCORES[name] for name in ("accuracy", "f1", "yes_rate")},
    },
}


# Which way a score is better; mentions, words and the share of yes are neither good nor bad
DIRECTIONS: Final[Mapping[str, Literal["lower", "higher"]]] = {
    **dict.fromkeys(("chair_i", "chair_s", "chair", "hal", "cog"), "lower"),
    **dict.fromkeys(("recall", "cover", "accuracy", "acc", "acc_plus", "score", "precision", "f1"), "higher"),
}


def described(item: Item) -> bool:
    """Whether an item asks for a description rather than a yes or a no."""
    return item.label is None


def caption_vocabulary(dataset: Dataset) -> Vocabulary:
    """The words that count as mentions in descriptions: the data set's vocabulary, AMBER's nouns for AMBER.

    Args:
        dataset: With descriptions.

    Raises:
        EvaluationError: It has no vocabulary.
    """
    if dataset.vocabulary is not None:
        return dataset.vocabulary
    if dataset.relations:
        return noun_vocabulary(dataset.relations)
    got = f"{dataset!r} without a vocabulary"
    raise EvaluationError(
        message(got, "words of the objects", "pass vocabulary= when it is read", task="count mentions")
    )


def count_answers(dataset: Dataset, metric: Metric, answers: Sequence[str], parser: Parser = "strict") -> Counts:
    """What each answer counts.

    Args:
        metric: How they are scored.
        answers: One text for each item, in order.
        parser: How a yes or a no is read.

    Returns:
        int64 [item] by name: those that `SCORES` sums, for yes/no questions also `unclear` and `parsers_differ`.

    Raises:
        EvaluationError: Another number of answers, or items that the metric cannot score.
    """
    if len(answers) != len(dataset):
        got = f"{len(answers)} answers for {len(dataset)} items"
        raise EvaluationError(message(got, "one for each", "check the answers", task="score answers"))
    _require(dataset, metric)
    if metric == "chair":
        return chair(answers, [item.objects or () for item in dataset.items], caption_vocabulary(dataset)).counts
    if metric == "amber":
        return _amber(dataset, answers, parser)
    return _questions(dataset, answers, parser, paired=metric == "mme")


def ratios(counts: Counts, metric: Metric, chosen: np.ndarray | None = None) -> Ratios:
    """Numerators and denominators of every score that the items have.

    Args:
        counts: Of `count_answers`.
        chosen: Which items, bool [item]; None for all.

    Returns:
        By score, two arrays [item]; scores without any item are left out.
    """
    found = {}
    kept = slice(None) if chosen is None else chosen
    for name, formula in SCORES[metric].items():
        if counts[counted_over(name, metric)][kept].any():
            part, whole = terms(counts, formula)
            found[name] = (part[kept], whole[kept])
    return found


def counted_over(score: str, metric: Metric) -> str:
    """What a score is counted over: `"captions"` or `"questions"`.

    Args:
        score: Its name.
    """
    if metric == "amber":
        return "questions" if score in AMBER_ANSWER_SCORES else "captions"
    return "captions" if metric == "chair" else "questions"


def _require(dataset: Dataset, metric: Metric) -> None:
    if wrong := next((item for item in dataset.items if not _scored_by(item, metric)), None):
        expected = "items with objects" if metric == "chair" else "yes/no questions with labels"
        got = f"item {wrong.id} of {dataset!r} for the metric {metric}"
        raise EvaluationError(message(got, expected, f"choose the metric {dataset.metric}", task="score answers"))


def _scored_by(item: Item, metric: Metric) -> bool:
    if metric == "amber":
        return not described(item) or item.objects is not None
    return described(item) and item.objects is not None if metric == "chair" else not described(item)


def _questions(dataset: Dataset, answers: Sequence[str], parser: Parser, *, paired: bool) -> Counts:
    truths = [bool(item.label) for item in dataset.items]
    if not paired:
        return pope(answers, truths, parser=parser).counts
    kinds = [item.kind or "all" for item in dataset.items]
    return mme(answers, truths, [item.image_id for item in dataset.items], kinds, parser=parser).counts


def _amber(dataset: Dataset, answers: Sequence[str], parser: Parser) -> Counts:
    """Descriptions and questions side by side; what an item has not, it counts 0 of."""
    is_text = np.array([described(item) for item in dataset.items])
    pairs = list(zip(dataset.items, answers, strict=True))
    descriptions = [(item, answer) for item, answer in pairs if described(item)]
    questions = [(item, answer) for item, answer in pairs if not described(item)]
    parts: list[tuple[np.ndarray, Counts]] = []
    if descriptions:
        found = amber_descriptions(
            [answer for _, answer in descriptions],
            [item.objects or () for item, _ in descriptions],
            [item.expected for item, _ in descriptions],
            dataset.relations,
            safe_words=dataset.safe_words,
        )
        parts.append((is_text, found.counts))
    if questions:
        labels = [bool(item.label) for item, _ in questions]
        kinds = [item.kind or "all" for item, _ in questions]
        verdicts = amber_answers([answer for _, answer in questions], labels, kinds, parser=parser)
        parts.append((~is_text, verdicts.counts))
    wanted = {one for sums in SCORES["amber"].values() for names in sums for one in names}
    counts = {name: np.zeros(len(pairs), dtype=np.int64) for name in sorted(wanted | {"unclear", "parsers_differ"})}
    for places, counted in parts:
        for name in counts.keys() & counted.keys():
            counts[name][places] = counted[name]
    return counts
