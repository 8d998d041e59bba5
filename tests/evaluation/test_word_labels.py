"""Labels of object words and the tokens that wrote them."""

import dataclasses

import pytest

from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import Vocabulary, label_words, vocabulary
from lvlmscope.traces.trace import Trace


def answering(*pieces: str) -> Trace:
    """A planted trace whose answer was written in these tokens."""
    trace = planted_trace(steps=len(pieces))
    return dataclasses.replace(trace, answer_tokens=pieces, answer="".join(pieces))


def test_synonyms_plurals_and_two_word_objects_keep_their_tokens() -> None:
    trace = answering("A", " so", "fa", " and", " two", " traffic", " li", "ghts", ",", " a", " dog", "</s>")
    found = label_words(trace, {"couch", "dog"}, vocabulary())
    told = [(word.text, word.category, word.label, word.steps) for word in found if word.label != "other"]
    assert told == [
        ("sofa", "couch", "grounded", (1, 2)),
        ("traffic lights", "traffic light", "hallucinated", (5, 6, 7)),
        ("dog", "dog", "grounded", (10,)),
    ]
    assert [word.text for word in found if word.label == "other"] == ["A", "and", "two", "a", "s"]
    assert all(trace.answer[word.start : word.end] == word.text for word in found)
    assert [word.start for word in found] == sorted(word.start for word in found)


def test_empty_tokens_and_repeated_mentions() -> None:
    trace = answering(" dog", "", " and", " dog", "s.")
    found = [word for word in label_words(trace, set(), vocabulary()) if word.label != "other"]
    assert [(word.text, word.steps, word.label) for word in found] == [
        ("dog", (0,), "hallucinated"),
        ("dogs", (3, 4), "hallucinated"),
    ]


def test_a_token_of_two_words_belongs_to_both() -> None:
    found = label_words(answering("cat dog"), {"cat"}, vocabulary())
    assert [(word.label, word.steps) for word in found] == [("grounded", (0,)), ("hallucinated", (0,))]


def test_a_longer_name_hides_the_shorter_one() -> None:
    words = Vocabulary({"bear": ["bear"], "teddy bear": ["teddy bear"]})
    found = label_words(answering("a", " teddy", " bear"), {"bear"}, words)
    assert [(word.text, word.label) for word in found] == [("a", "other"), ("teddy bear", "hallucinated")]


def test_unknown_objects_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"unknown objects \['unicorn'\]"):
        label_words(answering("a dog"), {"unicorn"}, vocabulary())
