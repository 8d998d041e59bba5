"""What an answer counts for each metric, item by item; every score is a sum of counts over another."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.datasets.items import Dataset, Item, Metric
from lvlmscope.evaluation.metrics.amber import amber_answers, amber_descriptions
from lvlmscope.evaluation.metrics.chair import chair
from lvlmscope.evaluation.metrics.mme import mme
from lvlmscope.evaluation.metrics.pope import pope
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.metrics.yes_no import Parser
from lvlmscope.evaluation.paired_differences import Ratios

__all__ = ["SCORES", "Counts", "caption_vocabulary", "count_answers", "counted_over", "described", "ratios"]

Counts = Mapping[str, np.ndarray]  # int64 [item] by what is counted
_Sums = tuple[tuple[str, ...], tuple[str, ...]]

# By metric and score: the counts whose sum is divided, and those whose sum divides
_CAPTIONS: Final[dict[str, _Sums]] = {
    "mean_words": (("words",), ("captions",)),
    "mentions": (("named",), ("captions",)),
}
SCORES: Final[Mapping[Metric, Mapping[str, _Sums]]] = {
    "chair": {
        "chair_i": (("hallucinated",), ("named",)),
        "chair_s": (("hallucinating",), ("captions",)),
        "recall": (("found",), ("present",)),
        **_CAPTIONS,
    },
    "pope": {
        "accuracy": (("correct",), ("questions",)),
        "precision": (("true_yes",), ("said_yes",)),
        "recall": (("true_yes",), ("truth",)),
        "f1": (("true_yes", "true_yes"), ("said_yes", "truth")),
        "yes_rate": (("said_yes",), ("questions",)),
    },
    "mme": {
        "acc": (("correct",), ("questions",)),
        "acc_plus": (("both_correct",), ("questions",)),
        "score": (("points",), ("questions",)),
        "yes_rate": (("said_yes",), ("questions",)),
    },
    "amber": {
        "chair": (("hallucinated",), ("named",)),
        "cover": (("found",), ("present",)),
        "hal": (("hallucinating",), ("captions",)),
        "cog": (("expected",), ("expectable",)),
        **_CAPTIONS,
        "accuracy": (("correct",), ("questions",)),
        "f1": (("true_no", "true_no"), ("said_no", "absent")),
        "yes_rate": (("said_yes",), ("questions",)),
    },
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
        nouns = {word for name, related in dataset.relations.items() for word in (name, *related)}
        return Vocabulary({word: [word] for word in sorted(nouns)}, shared="all")
    got = f"{dataset!r} without a vocabulary"
    raise EvaluationError(
        message(got, "words of the objects", "pass vocabulary= when it is read", task="count mentions")
    )


def count_answers(dataset: Dataset, metric: Metric, answers: Sequence[str], parser: Parser = "strict") -> Counts:
    """What each answer counts.

    Args:
        dataset: The items.
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
        return _descriptions(dataset, answers)
    if metric == "amber":
        return _amber(dataset, answers, parser)
    return _questions(dataset, answers, parser, paired=metric == "mme")


def ratios(counts: Counts, metric: Metric, chosen: np.ndarray | None = None) -> Ratios:
    """Numerators and denominators of every score that the items have.

    Args:
        counts: Of `count_answers`.
        metric: The metric.
        chosen: Which items, bool [item]; None for all.

    Returns:
        By score, two arrays [item]; scores without any item are left out.
    """
    found = {}
    for name, (parts, wholes) in SCORES[metric].items():
        whole = sum((counts[one] for one in wholes), start=np.zeros(1, dtype=np.int64))
        part = sum((counts[one] for one in parts), start=np.zeros(1, dtype=np.int64))
        kept = slice(None) if chosen is None else chosen
        if counts[counted_over(name, metric)][kept].any():
            found[name] = (part[kept], whole[kept])
    return found


def counted_over(score: str, metric: Metric) -> str:
    """What a score is counted over: `"captions"` or `"questions"`.

    Args:
        score: Its name.
        metric: The metric.
    """
    if metric == "amber":
        return "questions" if score in ("accuracy", "f1", "yes_rate") else "captions"
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


def _descriptions(dataset: Dataset, answers: Sequence[str]) -> Counts:
    found = chair(answers, [item.objects or () for item in dataset.items], caption_vocabulary(dataset))
    return {
        "captions": np.ones(len(answers), dtype=np.int64),
        "named": found.named,
        "hallucinated": found.hallucinated,
        "hallucinating": (found.hallucinated > 0).astype(np.int64),
        "found": found.found,
        "present": found.present,
        "words": found.words,
    }


def _questions(dataset: Dataset, answers: Sequence[str], parser: Parser, *, paired: bool) -> Counts:
    truths = [bool(item.label) for item in dataset.items]
    if not paired:
        asked = pope(answers, truths, parser=parser)
        return _verdicts(asked.said_yes, asked.unclear, asked.truth, asked.differs)
    kinds = [item.kind or "all" for item in dataset.items]
    found = mme(answers, truths, [item.image_id for item in dataset.items], kinds, parser=parser)
    both = (np.bincount(found.image[found.correct], minlength=int(found.image.max()) + 1) == 2)[found.image]
    extra = {"both_correct": both.astype(np.int64), "points": 100 * (found.correct.astype(np.int64) + both)}
    return {**_verdicts(found.said_yes, found.unclear, found.truth, found.differs), **extra}


def _verdicts(
    said_yes: np.ndarray, unclear: np.ndarray, truth: np.ndarray, differs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    said_no = ~said_yes & ~unclear
    flags = {
        "questions": np.ones_like(truth),
        "correct": (said_yes == truth) & ~unclear,
        "said_yes": said_yes,
        "said_no": said_no,
        "truth": truth,
        "absent": ~truth,
        "true_yes": said_yes & truth,
        "true_no": said_no & ~truth,
        "unclear": unclear,
        "parsers_differ": np.any([np.zeros_like(truth), *differs.values()], axis=0),
    }
    return {name: flag.astype(np.int64) for name, flag in flags.items()}


def _amber(dataset: Dataset, answers: Sequence[str], parser: Parser) -> Counts:
    """Descriptions and questions side by side; what an item has not, it counts 0 of."""
    is_text = np.array([described(item) for item in dataset.items])
    pairs = list(zip(dataset.items, answers, strict=True))
    told = [(item, answer) for item, answer in pairs if described(item)]
    asked = [(item, answer) for item, answer in pairs if not described(item)]
    parts: list[tuple[np.ndarray, Mapping[str, np.ndarray]]] = []
    if told:
        texts = amber_descriptions(
            [answer for _, answer in told],
            [item.objects or () for item, _ in told],
            [item.expected for item, _ in told],
            dataset.relations,
            safe_words=dataset.safe_words,
        )
        counts = {name: getattr(texts, name) for name in ("named", "hallucinated", "expected", "expectable", "words")}
        counts |= {"captions": np.ones(len(told), dtype=np.int64), "found": texts.covered, "present": texts.present}
        parts.append((is_text, counts | {"hallucinating": (texts.hallucinated > 0).astype(np.int64)}))
    if asked:
        labels = [bool(item.label) for item, _ in asked]
        kinds = [item.kind or "all" for item, _ in asked]
        verdicts = amber_answers([answer for _, answer in asked], labels, kinds, parser=parser)
        parts.append((~is_text, _verdicts(verdicts.said_yes, verdicts.unclear, verdicts.truth, verdicts.differs)))
    wanted = {one for sums in SCORES["amber"].values() for names in sums for one in names}
    found = {name: np.zeros(len(pairs), dtype=np.int64) for name in sorted(wanted | {"unclear", "parsers_differ"})}
    for places, counted in parts:
        for name in found.keys() & counted.keys():
            found[name][places] = counted[name]
    return found
