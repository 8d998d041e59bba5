"""LLaVA-Instruct JSON: read as published, and refused by name where it cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest

from lvlmscope.errors import TrainingDataError
from lvlmscope.training import read_records
from lvlmscope.training.llava_instruct import split_records
from tests.support.small_training import write


def changed(folder: Path, number: int, **fields: Any) -> tuple[Path, Path]:
    """The records with one of them changed; None takes a key away."""
    data, images = write(folder)
    written = json.loads(data.read_text())
    written[number] = {k: v for k, v in (written[number] | fields).items() if v is not None}
    data.write_text(json.dumps(written))
    return data, images


def test_records_are_read_as_published(tmp_path: Path) -> None:
    records, left_out = read_records(*write(tmp_path))
    assert left_out == 0
    assert [len(record.turns) for record in records] == [1, 1, 2, 1]
    assert records[2].turns == (("w13 w14 w15", "w27"), ("w16", "w28 w29"))
    assert records[2].image == tmp_path / "images/2.png"


def test_the_mark_may_stand_behind_the_question_and_a_last_question_is_left_out(tmp_path: Path) -> None:
    said = [("human", "w9\n<image>"), ("gpt", "w1"), ("human", "w2")]
    files = changed(tmp_path, 0, conversations=[{"from": who, "value": text} for who, text in said])
    assert read_records(*files)[0][0].turns == (("w9", "w1"),)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"image": "none.png"}, r"record 1 \(id 'r1'\): got no image .*none\.png"),
        ({"image": None}, r"record 1 \(id 'r1'\): got keys .* without image"),
        ({"image": None, "conversations": None}, "without image and conversations"),
        ({"emphasis": "w1"}, "record 1 .*emphasis 'w1'"),
        ({"conversations": []}, "record 1 .*no assistant turn"),
        ({"conversations": "hello"}, "no assistant turn"),
        ({"conversations": [{"from": "human", "value": "<image>"}]}, "no assistant turn"),
        ({"conversations": [{"from": "user", "value": "<image>"}]}, "a turn {'from': 'user'"),
        ({"conversations": [{"role": "human"}]}, "record 1 .*a turn {'role': 'human'}"),
        ({"conversations": [{"from": "gpt", "value": "w1"}] * 2}, "turns from gpt, gpt"),
        (
            {"conversations": [{"from": "human", "value": "w1"}, {"from": "gpt", "value": "w1"}]},
            "0 of <image>, 0 of them in the first turn",
        ),
        ({"conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "w1"}]}, "an empty turn"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    files = changed(tmp_path, 1, **fields)
    with pytest.raises(TrainingDataError, match=told):
        read_records(*files)
    records, left_out = read_records(*files, skip=True)
    assert (len(records), left_out) == (3, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [("[]", "an empty list"), ("{}", "a JSON dict"), ("no", "Expecting value"), ("[3]", "record 0: got a int")],
)
def test_a_file_that_is_no_list_of_records_is_refused(tmp_path: Path, text: str, told: str) -> None:
    data = tmp_path / "data.json"
    data.write_text(text)
    with pytest.raises(TrainingDataError, match=told):
        read_records(data, tmp_path)


def test_a_missing_file_and_a_file_of_nothing_usable_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"none\.json.*check --data"):
        read_records(tmp_path / "none.json", tmp_path)
    data, _ = write(tmp_path)
    with pytest.raises(TrainingDataError, match="no record that can be used"):
        read_records(data, tmp_path / "elsewhere", skip=True)


def test_a_split_is_complete_disjoint_and_repeatable(tmp_path: Path) -> None:
    records = read_records(*write(tmp_path))[0]
    training, held_out = split_records(records, 0.3, 5)
    assert (len(training), len(held_out)) == (3, 1)
    assert {r.name for r in training} | {r.name for r in held_out} == {r.name for r in records}
    assert split_records(records, 0.3, 5) == (training, held_out)
    assert split_records(records, 0.0, 5) == (records, [])
    with pytest.raises(TrainingDataError, match="1 of 1 records for validation"):
        split_records(records[:1], 0.5, 0)
