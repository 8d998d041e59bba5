"""AMBER: what descriptions say of annotated objects, and yes/no questions whose hallucinations are missed noes."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lvlmscope.attention.option_checks import each_of, require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.annotated_objects import AnnotatedObjects, is_hallucinated
from lvlmscope.evaluation.metrics.answer_rows import label_rows, require_paired, text_rows
from lvlmscope.evaluation.metrics.ratios import Counts, Formulas, score, scores
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.metrics.yes_no import Parser, Verdict, read_verdicts
from lvlmscope.evaluation.metrics.yes_no_scores import YesNoScores
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.word_boundaries import word_spans

__all__ = [
    "AMBER_ANSWER_SCORES",
    "AMBER_DESCRIPTION_SCORES",
    "AmberAnswers",
    "AmberDescriptions",
    "amber_answers",
    "amber_descriptions",
    "amber_score",
    "noun_vocabulary",
]

AMBER_DESCRIPTION_SCORES: Final[Formulas] = {
    "chair": (("hallucinated",), ("named",)),
    "cover": (("found",), ("present",)),
    "hal": (("hallucinating",), ("captions",)),
    "cog": (("expected",), ("expectable",)),
    "mean_words": (("words",), ("captions",)),
}
AMBER_ANSWER_SCORES: Final[Formulas] = {
    "accuracy": (("correct",), ("questions",)),
    "precision": (("true_no",), ("said_no",)),
    "recall": (("true_no",), ("absent",)),
    "f1": (("true_no", "true_no"), ("said_no", "absent")),
    "yes_rate": (("said_yes",), ("questions",)),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AmberDescriptions:
    """AMBER's generative task, kept per description.

    Attributes:
        named: Nouns that a description names. int64 [description]
        hallucinated: Those that are not in the image. int64 [description]
        covered: Annotated objects that it names. int64 [description]
        present: Annotated objects. int64 [description]
        expected: Objects that people would expect wrongly (annotated) and that it names. int64 [description]
        expectable: Objects so annotated. int64 [description]
        words: Its length in words. int64 [description]
    """

    named: np.ndarray
    hallucinated: np.ndarray
    covered: np.ndarray
    present: np.ndarray
    expected: np.ndarray
    expectable: np.ndarray
    words: np.ndarray

    @property
    def counts(self) -> Counts:
        """What each description counts, by the names in `AMBER_DESCRIPTION_SCORES`, int64 [description]."""
        return {
            "captions": np.ones_like(self.words),
            "named": self.named,
            "hallucinated": self.hallucinated,
            "hallucinating": (self.hallucinated > 0).astype(np.int64),
            "found": self.covered,
            "present": self.present,
            "expected": self.expected,
            "expectable": self.expectable,
            "words": self.words,
        }

    @property
    def chair(self) -> float:
        """Hallucinated nouns / nouns named, in [0, 1]; NaN when none is named."""
        return score(self.counts, AMBER_DESCRIPTION_SCORES["chair"])

    @property
    def cover(self) -> float:
        """Annotated objects named / annotated objects, in [0, 1]."""
        return score(self.counts, AMBER_DESCRIPTION_SCORES["cover"])

    @property
    def hal(self) -> float:
        """Descriptions with a hallucinated noun / descriptions, in [0, 1]."""
        return score(self.counts, AMBER_DESCRIPTION_SCORES["hal"])

    @property
    def cog(self) -> float:
        """Wrongly expected objects named / those annotated, in [0, 1]: hallucinations like those of people."""
        return score(self.counts, AMBER_DESCRIPTION_SCORES["cog"])

    def summary(self) -> dict[str, int | float]:
        """CHAIR, Cover, Hal and Cog in [0, 1], the mean length in words, and the count of descriptions."""
        return {"descriptions": len(self.words), **scores(self.counts, AMBER_DESCRIPTION_SCORES)}


@checked
@task("score AMBER's descriptions")
def amber_descriptions(
    responses: Iterable[str],
    truths: Iterable[Collection[str]],
    expected: Iterable[Collection[str]],
    relations: Mapping[str, Collection[str]],
    *,
    safe_words: Collection[str] = (),
    similar: Callable[[str, str], bool] | None = None,
) -> AmberDescriptions:
    """Scores descriptions against AMBER's annotations.

    A noun is right if it is an annotated object, a word related to one, a safe word, or `similar` to one of the first
    two; else it is hallucinated. Of an object that is annotated twice one is covered at most, as published.

    Our reading where the published code needs models: nouns are all words of `relations`, plurals included, wherever
    they stand (no tagger divides nouns from verbs, "a man watches" names a watch), and words are similar only if
    `similar` says so (published: spaCy vectors with a cosine above 0.8).

    Args:
        responses: One description for an image: a list, an array or a column.
        truths: Objects annotated in each image, in order.
        expected: Objects annotated as wrongly expected in each image, in order.
        relations: Words related to each object; together they are all nouns that count.
        safe_words: Words that are never hallucinated.
        similar: Whether two words mean much the same; None for equality alone.

    Returns:
        Counts per description, with the scores as properties.

    Raises:
        EvaluationError: No responses, lengths that differ, a row that is no text or no collection of objects, or an
            object without an entry in `relations`.

    Reference:
        Wang et al. 2023, arXiv 2311.07397, section 3.3.

    >>> relations = {"person": ["man"], "dog": [], "cat": []}
    >>> scores = amber_descriptions(["A man and a cat."], [["person", "dog"]], [["cat"]], relations)
    >>> scores.chair, scores.cover, scores.hal, scores.cog
    (0.5, 0.5, 1.0, 1.0)
    """
    texts = text_rows(responses, "responses")
    present, absent = _object_lists(truths, "truths"), _object_lists(expected, "expected")
    require_paired(responses=texts, truths=present, expected_objects=absent)
    require_kind("relations", relations, Mapping, "a dictionary of the words related to each object")
    safe = frozenset(text_rows(list(each_of("safe_words", safe_words, "texts")), "safe_words"))
    if similar is not None:
        require_kind("similar", similar, Callable, "a function of two words")  # type: ignore[arg-type]
    unknown = {name for names in (*present, *absent) for name in names} - set(relations)
    if unknown:
        got = f"objects {sorted(unknown)[:8]} without related words"
        raise EvaluationError(message(got, "an entry of `relations` for each", "pass AMBER's relation.json"))
    nouns = noun_vocabulary(relations)
    rows = []
    for text, there, not_there in zip(texts, present, absent, strict=True):
        named = [
            _singular(mention.category, mention.also, text[mention.start : mention.end])
            for mention in nouns.mentions(text)
        ]
        right, wrong = AnnotatedObjects(there, relations, similar), AnnotatedObjects(not_there, relations, similar)
        flags = [is_hallucinated(noun, right, wrong, safe) for noun in named]
        counts = (len(named), sum(flags), len(right.found), len(there), len(wrong.found), len(not_there))
        rows.append((*counts, len(word_spans(text))))
    columns = dict(zip(AmberDescriptions.__slots__, np.array(rows, dtype=np.int64).T, strict=True))
    return AmberDescriptions(**columns)


def noun_vocabulary(relations: Mapping[str, Collection[str]]) -> Vocabulary:
    """All words of AMBER's relations, each a category of its own.

    Args:
        relations: Words related to each object.
    """
    words = {word for name, related in relations.items() for word in (name, *related)}
    return Vocabulary({word: [word] for word in sorted(words)}, shared="all")


def _singular(category: str, also: tuple[str, ...], written: str) -> str:
    """Of several words with one plural, that which stands there."""
    return next((name for name in (category, *also) if name.lower() == written.lower()), category)


def _object_lists(given: Any, what: str) -> list[list[str]]:
    rows = [] if isinstance(given, str) else list(each_of(what, given, "a list of objects for each image"))
    for number, row in enumerate(rows):
        listed = isinstance(row, Iterable) and not isinstance(row, str | bytes)
        if not listed or not all(isinstance(name, str) for name in row):
            raise EvaluationError(message(f"{row!r} in row {number} of {what}"[:120], "a list of objects", "list them"))
    return [list(row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AmberAnswers(YesNoScores):
    """AMBER's discriminative task, kept per question; an unclear answer is a wrong one.

    Precision, recall and F1 are of the answer "no": what is asked for and is not there must be denied.

    Attributes:
        kind: Type of each question, as annotated. str [question]
    """

    kind: np.ndarray

    def summary(self, kind: str = "") -> dict[str, int | float]:
        """Questions, accuracy, precision, recall and F1 of "no", yes rate, all in [0, 1], and unclear answers.

        Args:
            kind: Questions whose type holds this text: "attribute", "attribute-state", "hallucination" (existence),
                "relation"; empty for all.

        Raises:
            EvaluationError: No question is of the kind.
        """
        chosen = np.array([kind in one for one in self.kind.tolist()])
        if not chosen.any():
            names = ", ".join(dict.fromkeys(self.kind.tolist()))
            raise EvaluationError(message(f"kind {kind!r}", names, "choose one of these", task="summarise AMBER"))
        counts = {name: values[chosen] for name, values in self.counts.items()}
        return {
            "questions": int(chosen.sum()),
            **scores(counts, AMBER_ANSWER_SCORES),
            "unclear": int(counts["unclear"].sum()),
        }


@checked
@task("score AMBER's answers")
def amber_answers(
    responses: Iterable[str],
    truths: Iterable[Any],
    kinds: Iterable[str] | None = None,
    *,
    parser: Parser = "strict",
) -> AmberAnswers:
    """Scores answers to AMBER's yes/no questions.

    Args:
        responses: One text for a question: a list, an array or a column.
        truths: Booleans, 0 and 1, or "yes" and "no" in any letter case.
        kinds: Type of each question, as annotated; None: one for all.
        parser: How a verdict is read (see `verdict`); `"official"` here is AMBER's published one: exactly "Yes" or
            "No".

    Returns:
        Verdicts per question, with the scores in `summary()`.

    Raises:
        EvaluationError: No responses, lengths that differ, or a row that is no text or no label.

    Reference:
        Wang et al. 2023, arXiv 2311.07397, section 3.3.

    >>> amber_answers(["Yes", "No", "Yes"], ["yes", "no", "no"]).summary()["recall"]
    0.5
    """
    texts, truth = text_rows(responses, "responses"), label_rows(truths, "truths")
    named = ["all"] * len(texts) if kinds is None else text_rows(kinds, "kinds")
    require_paired(responses=texts, truths=truth, kinds=named)
    verdicts, differs = read_verdicts(texts, parser, official=_official)
    return AmberAnswers(
        said_yes=verdicts == "yes",
        unclear=verdicts == "unclear",
        truth=truth,
        kind=np.array(named),
        parser=parser,
        differs=differs,
    )


def _official(answer: str) -> Verdict:
    return "yes" if answer == "Yes" else "no" if answer == "No" else "unclear"


@checked
def amber_score(descriptions: AmberDescriptions, answers: AmberAnswers) -> float:
    """The AMBER score, `(1 - CHAIR + F1) / 2` in [0, 1], of descriptions and yes/no answers.

    Raises:
        ModelInputError: Something else than these.
    """
    require_kind("descriptions", descriptions, AmberDescriptions, "what amber_descriptions returns")
    require_kind("answers", answers, AmberAnswers, "what amber_answers returns")
    return (1 - descriptions.chair + float(answers.summary()["f1"])) / 2
