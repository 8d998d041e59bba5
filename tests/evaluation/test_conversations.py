"""Conversations turn by turn: what is read, that earlier answers are seen, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lvlmscope as lv
from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import Dataset, read_conversations, read_dataset, vocabulary
from lvlmscope.evaluation.captioning import answers
from lvlmscope.tiny import Scene, scenes

SHORT: dict[str, Any] = {"max_new_tokens": 12, "resamples": 100}


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


@pytest.fixture(scope="module")
def held() -> tuple[Scene, ...]:
    return tuple(scenes("prior", n=3))


def written(folder: Path, rows: Sequence[dict[str, Any]], name: str = "talks.jsonl") -> Path:
    (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / name


@pytest.fixture(scope="module")
def talks(held: tuple[Scene, ...], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two or three yes/no questions about each of three scenes."""
    folder = tmp_path_factory.mktemp("talks")
    rows = []
    for number, scene in enumerate(held):
        scene.image.save(folder / f"{number}.png")
        named = [*sorted(scene.present)[:1], *sorted({"dog", "cat", "cake"} - scene.present)[: 1 + (number == 1)]]
        turns = [{"question": f"Is there a {one} in the image?", "label": one in scene.present} for one in named]
        rows.append({"id": number, "image": f"{number}.png", "turns": turns})
    return read_dataset("pope", written(folder, rows), folder)


def test_each_turn_is_an_item(talks: Dataset) -> None:
    assert [item.id for item in talks.items] == ["0#1", "0#2", "1#1", "1#2", "1#3", "2#1", "2#2"]
    assert talks.kinds == {"turn 1": 3, "turn 2": 3, "turn 3": 1}
    assert talks.metric == "pope"
    assert [item.label for item in talks.items[:2]] == [True, False]
    assert {item.conversation for item in talks.items} == {"0", "1", "2"}


def test_a_turn_sees_the_models_own_answers_before_it(model: lv.LoadedModel, talks: Dataset) -> None:
    found = lv.evaluate(model, talks, batch_size=2, **SHORT).row("plain")
    for number, item in enumerate(talks.items):
        before = [(one, found.answers[place]) for place, one in enumerate(talks.items[:number])]
        turns = [
            {"role": role, "content": text}
            for one, answer in before
            if one.conversation == item.conversation
            for role, text in (("user", one.question), ("assistant", answer))
        ]
        prompt: Any = [*turns, {"role": "user", "content": item.question}]
        (alone,) = answers(model.model, model.processor, [(item.open, prompt)], max_new_tokens=12)
        assert found.answers[number] == alone
        assert found.tokens[number] > 0


def test_tables_tell_the_turns_apart(model: lv.LoadedModel, talks: Dataset) -> None:
    found = lv.evaluate(model, talks, [lv.LocoRE()], **SHORT)
    by_turn = found.scores_by_kind()
    assert set(by_turn) == {"turn 1", "turn 2", "turn 3"}
    for turn in (1, 2, 3):
        own = [n for n, item in enumerate(talks.items) if item.turn == turn]
        right = sum(int(found.row("plain").counts["correct"][n]) for n in own)
        assert by_turn[f"turn {turn}"]["plain"]["accuracy"] == pytest.approx(right / len(own))


def test_descriptions_in_turns_are_scored_by_the_images_objects(
    model: lv.LoadedModel, held: tuple[Scene, ...], tmp_path: Path
) -> None:
    held[0].image.save(tmp_path / "0.png")
    turns = [{"question": "Describe the image."}, {"text": "What else is there?"}]
    row = {"id": "a", "image": "0.png", "objects": sorted(held[0].present), "turns": turns}
    data = read_dataset("chair", written(tmp_path, [row]), tmp_path, vocabulary=vocabulary())
    assert [(item.question, item.objects) for item in data.items] == [
        ("Describe the image.", tuple(sorted(held[0].present))),
        ("What else is there?", tuple(sorted(held[0].present))),
    ]
    found = lv.evaluate(model, data, max_new_tokens=30, resamples=100)
    assert found.scores["plain"]["recall"] > 0


def test_what_is_asked_alone_is_asked_as_before(model: lv.LoadedModel, talks: Dataset) -> None:
    first = replace(talks, items=tuple(replace(item, conversation="", turn=1) for item in talks.items))
    pairs = [(item.open, item.question) for item in first.items]
    texts = answers(model.model, model.processor, pairs, max_new_tokens=12, batch_size=8)
    assert list(lv.evaluate(model, first, **SHORT).row("plain").answers) == texts


def test_bad_input_is_refused(model: lv.LoadedModel, talks: Dataset, tmp_path: Path) -> None:
    part = replace(talks, items=talks.items[1:])
    with pytest.raises(EvaluationError, match="turn 2 of conversation 0 without turn 1"):
        lv.evaluate(model, part, **SHORT)
    twice = replace(talks, items=(*talks.items, replace(talks.items[0], id="other")))
    with pytest.raises(EvaluationError, match="a turn of a conversation twice"):
        lv.evaluate(model, twice, **SHORT)
    with pytest.raises(EvaluationError, match="0#2, which is asked after the turns before it"):
        lv.sweep(model, talks, tmp_path / "swept")
    row = {"id": 1, "image": "0.png"}
    for turns, expected in (
        ([], r"row 1 with turns=\[\]; expected: a list of objects with a question each"),
        ([{"question": "Is it?"}], "row 1, turn 1 without label"),
        ([{"label": "yes"}], "row 1, turn 1 with no field 'question'"),
        ([{"question": "Is it?", "label": "perhaps"}], "row 1, turn 1"),
    ):
        path = written(tmp_path, [row | {"turns": turns}])
        with pytest.raises(EvaluationError, match=expected):
            read_conversations(path)
    path = written(tmp_path, [row | {"turns": [{"question": "Describe."}]}])
    with pytest.raises(EvaluationError, match="row 1 with objects=None; expected: a list of objects"):
        read_conversations(path, metric="chair")
    with pytest.raises(EvaluationError, match="a vocabulary for yes/no questions"):
        read_conversations(path, vocabulary=vocabulary())
