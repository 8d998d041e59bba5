"""CHAIR and POPE on answers whose scores are counted by hand."""

import numpy as np
import pytest

from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import Vocabulary, chair, pope, verdict, vocabulary

WORDS = Vocabulary({"bear": ["bear", "bears"], "teddy bear": ["teddy bear"], "dog": ["dog", "puppy"]})


def test_longest_word_wins_and_spans_are_exact() -> None:
    text = "A Teddy bear, two bears and a puppy; no bearing."
    found = WORDS.mentions(text)
    assert [m.category for m in found] == ["teddy bear", "bear", "dog"]
    assert [text[m.start : m.end] for m in found] == ["Teddy bear", "bears", "puppy"]


def test_chair_by_hand() -> None:
    scores = chair(["A dog and a bear.", "A puppy.", "Nothing."], [{"dog"}, {"dog", "bear"}, {"bear"}], WORDS)
    assert scores.summary() == {
        "captions": 3,
        "chair_i": pytest.approx(1 / 3),
        "chair_s": pytest.approx(1 / 3),
        "recall": pytest.approx(2 / 4),
        "mean_words": pytest.approx((5 + 2 + 1) / 3),
    }
    assert scores.named.tolist() == [2, 1, 0]
    assert np.isnan(chair(["Nothing."], [set()], WORDS).chair_i)


def test_pope_by_hand() -> None:
    scores = pope(["Yes, it is.", "no.", "There is not one.", "Maybe"], [True, True, False, False])
    assert scores.correct.tolist() == [True, False, True, False]
    assert scores.summary() == {
        "questions": 4,
        "accuracy": 0.5,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "yes_rate": 0.25,
        "unclear": 1,
        "parsers_differ": 2,
    }
    assert verdict("Yesterday?") == "unclear"


def test_bad_input_is_refused() -> None:
    with pytest.raises(EvaluationError, match="0 captions and 0 lists"):
        chair([], [], WORDS)
    with pytest.raises(EvaluationError, match=r"unknown objects \['cow'\]"):
        chair(["A cow."], [{"cow"}], WORDS)
    with pytest.raises(EvaluationError, match="1 answers and 2 truths"):
        pope(["Yes"], [True, False])
    with pytest.raises(EvaluationError, match="'cat' for 'cat' and 'pet'"):
        Vocabulary({"cat": ["cat"], "pet": ["cat"]})
    with pytest.raises(EvaluationError, match="no words"):
        Vocabulary({})


def test_bundled_vocabulary_knows_synonyms() -> None:
    assert [m.category for m in vocabulary().mentions("Two sofas, a teddy bear and people.")] == [
        "couch",
        "teddy bear",
        "person",
    ]
