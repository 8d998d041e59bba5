"""Verdicts against answers judged by hand, labels as published files hold them, and what parsers disagree on."""

import numpy as np
import pandas as pd
import pytest

from lvlmscope.errors import EvaluationError, ModelInputError
from lvlmscope.evaluation import pope, verdict
from tests.support.yes_no_answers import ANSWERS


@pytest.mark.parametrize(("answer", "judged"), ANSWERS, ids=[answer[:40] or "empty" for answer, _ in ANSWERS])
def test_answers_are_what_a_person_takes_them_for(answer: str, judged: str) -> None:
    assert verdict(answer) == judged
    assert verdict(answer.replace("'", "’")) == judged  # typographic apostrophes are none other


@pytest.mark.parametrize(
    ("answer", "official", "first_word"),
    [
        ("No, it is not.", "no", "no"),
        ("no", "no", "no"),
        ("NO.", "yes", "no"),  # as published: the letters of "No" and "no" only
        ("There isn't a dog.", "yes", "unclear"),
        ("There is no dog.", "no", "unclear"),
        ("Yes. It is not a cat.", "yes", "yes"),  # the first sentence alone
        ("Not really.", "yes", "unclear"),
        ("No\n", "yes", "no"),  # words are divided by spaces alone
        ("I'm not sure.", "no", "unclear"),
        ("**Yes**", "yes", "yes"),
        ("Nobody.", "yes", "unclear"),
        ("", "yes", "unclear"),
    ],
)
def test_published_and_first_word_parsers(answer: str, official: str, first_word: str) -> None:
    assert (verdict(answer, "official"), verdict(answer, "first_word")) == (official, first_word)


def test_the_parser_is_chosen_by_name_and_the_scores_tell_where_others_differ() -> None:
    answers = ["Yes.", "There isn't.", "I'm not sure.", "No doubt, yes."]
    strict = pope(answers, ["yes", "no", "no", "yes"])
    assert (strict.parser, strict.disagreements) == ("strict", {"official": 3, "first_word": 2})
    assert strict.summary()["parsers_differ"] == 3
    official = pope(answers, ["yes", "no", "no", "yes"], parser="official")
    assert official.said_yes.tolist() == [True, True, False, False]
    assert official.summary()["unclear"] == 0
    assert official.disagreements == {"strict": 3, "first_word": 2}
    assert pope(["yes", "No."], [1, 0]).summary()["parsers_differ"] == 0


@pytest.mark.parametrize(
    "truths",
    [
        ["yes", "No", " YES ", "no"],
        [1, 0, 1, 0],
        [True, False, True, False],
        np.array([True, False, True, False]),
        np.array([1, 0, 1, 0]),
        np.array(["yes", "no", "yes", "no"]),
        pd.Series(["Yes", "No", "yes", "no"], index=[7, 8, 9, 10]),
        pd.Series([1.0, 0.0, 1.0, 0.0]),
        ["yes", False, 1, "No"],
    ],
    ids=str,
)
def test_labels_as_published_files_hold_them(truths) -> None:
    scores = pope(pd.Series(["yes", "no", "yes", "no"], index=[3, 2, 1, 0]), truths)
    assert scores.truth.tolist() == [True, False, True, False]
    assert scores.summary()["accuracy"] == 1.0


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("truths", "told"),
    [
        (["yes", "maybe"], r"'maybe' in row 1 of truths; expected: yes or no, 1 or 0, True or False"),
        ([1, 2], "2 in row 1"),
        ([None, 1], "None in row 0"),
        ([float("nan"), 1], "nan in row 0"),
        (["1", "0"], "'1' in row 0"),
        (["true", "false"], "'true' in row 0"),
        ([0.5, 1], "0.5 in row 0"),
        ([["yes"], ["no"]], r"\['yes'\] in row 0"),
        ("yn", "str 'yn' for truths; expected: a list of labels"),
        ({"a": 1, "b": 0}, "dict .* for truths"),
        ({True, False}, "set .* for truths"),
        (np.array([[1, 0]]), "ndarray .* for truths"),
        (True, "bool True for truths"),
    ],
)
def test_what_is_neither_yes_nor_no_is_refused_with_its_row(truths, told: str) -> None:
    with pytest.raises(EvaluationError, match=f"score answers: got .*{told}"):
        pope(["yes", "no"], truths)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ("yes", "str 'yes' for answers; expected: a list of texts"),
        (["yes", None], "None in row 1 of answers; expected: a text"),
        (["yes", True], "True in row 1 of answers"),
        ([], "0 answers and 2 truths"),
    ],
)
def test_answers_that_are_no_texts_are_refused(answers, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        pope(answers, [True, False])


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_parser_is_refused() -> None:
    with pytest.raises(
        ModelInputError, match="call verdict: got parser='fast'; expected: 'strict', 'official', 'first"
    ):
        verdict("yes", "fast")  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="call pope: got parser='fast'"):
        pope(["yes"], [True], parser="fast")  # type: ignore[arg-type]
