"""MME, AMBER, POPE and CHAIR against their slow twins and by hand; readers on files in the published form."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import (
    Vocabulary,
    amber_answers,
    amber_descriptions,
    amber_files,
    amber_score,
    chair,
    mme,
    pope,
    read_questions,
)
from tests.reference import hallucination_metrics as twin

SAID = {"yes": "Yes.", "no": "No.", "unclear": "Hm."}
VERDICTS = st.sampled_from(list(SAID))
NAMES = ("dog", "cat", "cow", "pig")
RELATIONS = {"dog": ["hound"], "cat": ["kitten", "dog"], "cow": [], "pig": ["cow"]}
SOME = st.lists(st.sampled_from(NAMES), max_size=4)


def similar(one: str, other: str) -> bool:
    return {one, other} in ({"hound", "kitten"}, {"pig", "dog"})


def same(found: tuple[float, ...], told: tuple[float, ...]) -> bool:
    return bool(np.allclose(found, told, rtol=0, atol=1e-12, equal_nan=True))


@given(st.lists(st.tuples(VERDICTS, st.booleans()), min_size=1, max_size=12))
def test_pope_and_ambers_answers_are_their_twins(rows: list[tuple[str, bool]]) -> None:
    verdicts, truths = [row[0] for row in rows], [row[1] for row in rows]
    answers = [SAID[verdict] for verdict in verdicts]
    told, names = pope(answers, truths).summary(), ("accuracy", "precision", "recall", "f1")
    assert same(tuple(told[name] for name in names), twin.pope(verdicts, truths))
    told = amber_answers(answers, truths).summary()
    assert same(tuple(told[name] for name in names), twin.pope(verdicts, truths, positive="no"))


@given(st.lists(st.tuples(VERDICTS, VERDICTS, st.booleans(), st.booleans()), min_size=1, max_size=8), st.randoms())
def test_mme_is_its_twin_in_any_order_of_the_questions(rows: list, random) -> None:
    questions = [(verdict, truth, f"{n}.jpg") for n, row in enumerate(rows) for verdict, truth in zip(row[:2], row[2:])]  # noqa: B905
    random.shuffle(questions)
    verdicts, truths, images = map(list, zip(*questions, strict=True))
    told = mme([SAID[verdict] for verdict in verdicts], truths, images).summary()
    assert same((told["acc"], told["acc_plus"]), twin.mme(verdicts, truths, images))


@given(st.lists(st.tuples(SOME, SOME, SOME), min_size=1, max_size=5), st.sampled_from([[], ["pig"]]))
def test_ambers_descriptions_and_chair_are_their_twins(rows: list, safe: list[str]) -> None:
    nouns, truths, traps = ([row[place] for row in rows] for place in range(3))
    texts = ["We see " + ", ".join(f"a {noun}" for noun in row) + "." for row in nouns]
    found = amber_descriptions(texts, truths, traps, RELATIONS, safe_words=safe, similar=similar)
    told = twin.amber(nouns, truths, traps, RELATIONS, safe, similar)
    assert same((found.chair, found.cover, found.hal, found.cog), told)
    scores = chair(texts, truths, Vocabulary({name: [name] for name in NAMES}))
    assert same((scores.chair_i, scores.chair_s), twin.chair(nouns, truths))


def test_amber_by_hand() -> None:
    relations = {"person": ["man", "woman"], "dog": [], "cat": [], "sky": ["cloud"], "TV": []}
    texts = ["Two men and a cat under clouds.", "A TV."]
    found = amber_descriptions(texts, [["person", "dog", "sky"], ["TV"]], [["cat"], ["dog"]], relations)
    assert found.summary() == {
        "descriptions": 2,
        "chair": pytest.approx(1 / 4),
        "cover": pytest.approx(3 / 4),
        "hal": 0.5,
        "cog": 0.5,
        "mean_words": 4.5,
    }
    answers = amber_answers(["Yes", "no", "There isn't.", "Yes"], ["yes", "no", "no", "no"], ["a-x", "a-x", "b", "b"])
    told = answers.summary()
    assert told == {
        "questions": 4,
        "accuracy": 0.75,
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
        "yes_rate": 0.5,
        "unclear": 0,
    }
    assert answers.summary("a-x")["accuracy"] == 1.0
    assert answers.disagreements == {"official": 2, "first_word": 1}
    assert amber_score(found, answers) == pytest.approx((1 - 0.25 + 0.8) / 2)
    published = amber_answers(["Yes", "no", "No"], ["yes", "no", "no"], parser="official")
    assert published.unclear.tolist() == [False, True, False]
    with pytest.raises(EvaluationError, match="summarise AMBER: got kind 'c'; expected: a-x, b"):
        answers.summary("c")
    with pytest.raises(EvaluationError, match=r"got objects \['cow'\] without related words"):
        amber_descriptions(["A cow."], [["cow"]], [[]], relations)
    with pytest.raises(EvaluationError, match="'dog' in row 0 of truths"):
        amber_descriptions(["A cow."], ["dog"], [[]], relations)


def test_mme_by_hand() -> None:
    answers = ["Yes", "No", "Yes", "Hm.", "Not at all.", "Yes"]
    truths = ["yes", "no", "yes", "no", "no", "no"]
    images, subtasks = ["a", "a", "b", "b", "a", "a"], [*["existence"] * 4, *["count"] * 2]
    scores = mme(answers, truths, images, subtasks)
    assert scores.by_subtask()["existence"] == {
        "questions": 4,
        "acc": 0.75,
        "acc_plus": 0.5,
        "score": 125.0,
        "yes_rate": 0.5,
        "unclear": 1,
    }
    assert (scores.summary("count")["acc"], scores.summary("count")["acc_plus"]) == (0.5, 0.0)
    assert mme(["not", "Well, yes"], [False, True], ["a", "a"], parser="official").unclear.tolist() == [False, True]
    with pytest.raises(EvaluationError, match=r"score MME: got 1 questions about image 'b' of subtask 'all'"):
        mme(["yes"] * 3, [True] * 3, ["a", "a", "b"])
    with pytest.raises(EvaluationError, match="summarise MME: got subtask 'ocr'; expected: existence, count"):
        scores.summary("ocr")


def _written(folder: Path) -> Path:
    files = {
        "annotations.json": [
            {"id": 1, "type": "generative", "truth": ["sky", "person"], "hallu": ["dog"]},
            {"id": 2, "type": "discriminative-hallucination", "truth": "no"},
        ],
        "relation.json": {"sky": [], "person": ["man"], "dog": []},
        "query_all.json": [
            {"id": 1, "image": "AMBER_1.jpg", "query": "Describe this image."},
            {"id": 2, "image": "AMBER_1.jpg", "query": "Is there a dog?"},
        ],
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "safe_words.txt").write_text("orange\nline\n\n")
    return folder


def test_files_in_ambers_form_are_read(tmp_path: Path) -> None:
    amber = amber_files(_written(tmp_path))
    assert amber.safe_words == ("orange", "line")
    (described,), (asked,) = amber.generative, amber.discriminative
    assert (described.objects, described.expected, described.image) == (("sky", "person"), ("dog",), "AMBER_1.jpg")
    assert (asked.truth, asked.kind, asked.text) == (False, "discriminative-hallucination", "Is there a dog?")
    found = amber_descriptions(["A man."], [described.objects], [described.expected], amber.relations)
    assert (found.chair, found.cover) == (0.0, 0.5)
    assert [one.category for one in amber.vocabulary.mentions("Two men and a dog")] == ["person", "dog"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("relation.json", '{"sky": "cloud"}', "another form of relation.json"),
        ("relation.json", "{", "relation.json: Expecting"),
        ("annotations.json", "{}", "another form of annotations.json"),
        ("annotations.json", '[{"id": 1, "type": "generative", "truth": "sky"}]', "annotation 1 without lists"),
        (
            "annotations.json",
            '[{"id": 1, "type": "relation", "truth": "maybe"}]',
            "'maybe' in annotation 1 of annotations.json",
        ),
        ("annotations.json", "[]", "query 1 without annotation"),
        ("query_all.json", '[{"id": "1"}]', "record 0 of query_all.json: .*expected: a record with id, image, query"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, name: str, content: str, told: str) -> None:
    (_written(tmp_path) / name).write_text(content)
    with pytest.raises(EvaluationError, match=f"read AMBER's files: got .*{told}"):
        amber_files(tmp_path)


def test_files_in_popes_form_are_read(tmp_path: Path) -> None:
    path = tmp_path / "coco_pope_random.json"
    path.write_text(
        '{"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"}\n\n'
        '{"question_id": 2, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "No"}\n'
    )
    found = read_questions(path).items
    assert [(one.id, one.image_id, one.label) for one in found] == [("1", "a.jpg", True), ("2", "a.jpg", False)]
    assert found[1].question == "Is there a cat in the image?"
    path.write_text('{"question_id": 1, "image": "a.jpg", "text": "Is there?"}\n')
    with pytest.raises(EvaluationError, match=r"read yes/no questions: got coco_pope_random.json, row 1 without label"):
        read_questions(path)
    path.write_text('{"question_id": 1, "image": "a.jpg", "text": "Is there?", "label": "perhaps"}\n')
    with pytest.raises(EvaluationError, match=r"'perhaps' in coco_pope_random.json, row 1"):
        read_questions(path)
    path.write_text("\n")
    with pytest.raises(EvaluationError, match="without a record"):
        read_questions(path)


def test_a_line_separator_inside_a_question_is_no_end_of_a_line(tmp_path: Path) -> None:
    text = "Is there a dog\u2028in the image?"
    record = {"question_id": 1, "image": "a.jpg", "text": text, "label": "yes"}
    path = tmp_path / "coco_pope_random.json"
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [one.question for one in read_questions(path).items] == [text]
