"""The COCO vocabulary against captions judged by hand, and the reader of CHAIR's published list."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import chair_synonyms, coco_vocabulary
from tests.support.coco_captions import CAPTIONS

SYNONYMS = """\
person, girl, boy, adult, passenger
bear, panda
train
airplane,  jet, jet

chair, seat ,
toilet
tie, bow tie
cup
cup, mug, bow tie
"""
LONG = (
    "The image shows a dining table with a cup, a fork and a knife. Two men ride horses near a parked bus, and a woman "
    "holds an umbrella. In the background there are several people walking along the street, and a traffic light can "
    "be seen on the corner. The scene also includes a dog on a bench, a bicycle leaning against a wall, and some cars."
)


@pytest.mark.parametrize(("caption", "named"), CAPTIONS, ids=[caption[:40] for caption, _ in CAPTIONS])
def test_captions_name_what_a_person_says_they_name(caption: str, named: str) -> None:
    assert ", ".join(mention.category for mention in coco_vocabulary().mentions(caption)) == named


def test_all_eighty_categories_are_there_and_named_by_themselves() -> None:
    words = coco_vocabulary()
    assert len(words.categories) == 80
    for name in words.categories:
        assert [mention.category for mention in words.mentions(f"A photo of the {name}.")] == [name]


def test_a_long_caption_in_less_than_half_a_millisecond(benchmark: BenchmarkFixture) -> None:
    """`pytest --benchmark-enable` tells how long; here it is named right."""
    found = benchmark(coco_vocabulary().mentions, LONG)
    told = "dining table, cup, fork, knife, person, horse, bus, person, umbrella, person, traffic light, dog, bench"
    assert ", ".join(mention.category for mention in found) == f"{told}, bicycle, car"


def test_the_published_list_is_read_with_its_rules(tmp_path: Path) -> None:
    path = tmp_path / "synonyms.txt"
    path.write_text(SYNONYMS, encoding="utf-8")
    words = chair_synonyms(path)
    told = [
        mention.category for mention in words.mentions("An adult panda and boys in a passenger jet. Mugs, a bow tie.")
    ]
    assert told == [
        "person",
        "bear",
        "person",
        "airplane",
        "cup",
        "cup",
    ]  # a panda is none of the animals of the rule: "adult" is a person
    assert [mention.category for mention in words.mentions("A toilet seat, a train track, baby bears")] == [
        "toilet",
        "bear",
    ]


def test_a_file_without_words_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n , \n")
    with pytest.raises(EvaluationError, match=r"read CHAIR's synonyms: got .*empty.txt without a word"):
        chair_synonyms(tmp_path / "empty.txt")
    with pytest.raises(EvaluationError, match="a text file in UTF-8; check the path"):
        chair_synonyms(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(EvaluationError, match="a text file in UTF-8"):
        chair_synonyms(tmp_path / "latin.txt")
