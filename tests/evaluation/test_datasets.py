"""Readers of data sets: what is read is what was written, and bad files are refused with file and row."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvlmscope.errors import EvaluationError, ImageInputError, ModelInputError
from lvlmscope.evaluation import Vocabulary
from lvlmscope.evaluation.datasets import (
    Dataset,
    Item,
    bundled_dataset,
    make_questions,
    read_amber,
    read_answers,
    read_coco,
    read_mme,
    read_questions,
    read_table,
)
from tests.support.coco_scenes import CocoFiles, instances_of, write_coco, write_mme

pytestmark = pytest.mark.usefixtures("unchecked_shapes")  # wrong arguments meet the library's own messages


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> CocoFiles:
    return write_coco(tmp_path_factory.mktemp("coco"))


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def question(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "question_id": number,
        "image": "scene_0.png",
        "text": "Is there a dog in the image?",
        "label": "yes",
    } | changes


def changed(coco: CocoFiles, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of the instances with something wrong."""
    told = instances_of(coco.scenes)
    change(told)
    path = folder / "instances.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def test_coco_objects_are_those_of_the_scenes(coco: CocoFiles) -> None:
    found = read_coco(coco.instances, coco.images)
    assert [item.id for item in found.items] == [str(1000 + n) for n in range(6)]
    assert [frozenset(item.objects or ()) for item in found.items] == [scene.present for scene in coco.scenes]
    assert np.array_equal(np.asarray(found.items[2].open()), np.asarray(coco.scenes[2].image))
    assert found.metric == "chair"


def test_reference_captions_add_what_they_name(coco: CocoFiles, tmp_path: Path) -> None:
    told = {"images": [{"id": 1000}, {"id": 7}], "annotations": [{"image_id": 1000, "caption": "A zebra and a sofa."}]}
    told["annotations"].append({"image_id": 7, "caption": "Of another split."})
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    found = read_coco(coco.instances, captions=path)
    assert set(found.items[0].objects or ()) == coco.scenes[0].present | {"zebra", "couch"}
    assert set(found.items[1].objects or ()) == coco.scenes[1].present
    told["annotations"].append({"image_id": 8, "caption": "Of no image."})
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"captions.json, annotation 3 with the unknown image_id 8"):
        read_coco(coco.instances, captions=path)


def test_a_byte_order_mark_is_no_matter(coco: CocoFiles, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(b"\xef\xbb\xbf" + coco.instances.read_bytes())
    assert read_coco(path).fingerprint == read_coco(coco.instances).fingerprint
    asked = lines(tmp_path / "asked.json", question(1))
    plain = read_questions(asked).fingerprint
    asked.write_bytes(b"\xef\xbb\xbf" + asked.read_bytes().replace(b"\n", b"\r\n"))
    assert read_questions(asked).fingerprint == plain


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda told: told.pop("annotations"), "instances.json without the list annotations"),
        (lambda told: told["images"].append(told["images"][1]), "id 1001 twice: instances.json, image 2 and .*image 7"),
        (lambda told: told["annotations"][3].update(image_id=5), r"annotation 4 with the unknown image_id 5"),
        (lambda told: told["annotations"][0].update(category_id=500), r"annotation 1 with the unknown category_id 500"),
        (lambda told: told["annotations"][0].pop("image_id"), r"annotation 1 with no field 'image_id'"),
        (lambda told: told["images"][0].update(file_name="none.png"), "image 1: no image 'none.png' in "),
        (lambda told: told["images"][0].update(file_name="\udcff.png"), r"the file name b'\\xff.png' in .*image 1"),
        (lambda told: told["categories"][0].update(name="unicorn"), r"unknown objects \['unicorn'\]"),
        (lambda told: told["annotations"].clear(), "6 of 6 images without annotations, scene_0.png the first"),
        (lambda told: told["images"].append(3), "instances.json, image 7, a int"),
        (lambda told: told["images"].clear() or told["annotations"].clear(), "no items"),
    ],
)
def test_wrong_annotations_are_told_with_their_row(
    coco: CocoFiles, tmp_path: Path, change: Callable[[dict[str, Any]], Any], expected: str
) -> None:
    with pytest.raises(EvaluationError, match=expected):
        read_coco(changed(coco, tmp_path, change), coco.images)


def test_images_without_objects_are_refused_skipped_or_kept(coco: CocoFiles, tmp_path: Path) -> None:
    path = changed(coco, tmp_path, lambda told: told["images"].append({"id": 1, "file_name": "scene_0.png"}))
    assert len(read_coco(path, coco.images, unannotated="skip")) == 6
    assert read_coco(path, coco.images, unannotated="keep").items[6].objects == ()
    with pytest.raises(ModelInputError, match="unannotated='drop'"):
        read_coco(path, unannotated="drop")  # type: ignore[arg-type]


def test_json_and_json_lines_are_not_mixed_up(coco: CocoFiles, tmp_path: Path) -> None:
    asked = lines(tmp_path / "asked.jsonl", question(1), question(2))
    with pytest.raises(EvaluationError, match=r"got asked.jsonl, a file of JSON-lines; expected: an object .*in JSON"):
        read_coco(asked)
    for written in (json.dumps([question(1)]), json.dumps([question(1)], indent=1), json.dumps(question(1), indent=1)):
        path = tmp_path / "asked.json"
        path.write_text(written, encoding="utf-8")
        with pytest.raises(EvaluationError, match=r"asked.json, which is one JSON value; expected: JSON-lines"):
            read_questions(path)
    with pytest.raises(EvaluationError, match=r"instances.json, row 1 without label"):
        read_questions(coco.instances)


def test_what_is_no_text_is_told_with_its_row(tmp_path: Path) -> None:
    path = lines(tmp_path / "asked.jsonl", question(1), question(2))
    path.write_bytes(path.read_bytes() + b'{"text": "caf\xe9"}\n')
    with pytest.raises(EvaluationError, match=r"asked.jsonl, row 3: the byte 0xe9; expected: a text in UTF-8"):
        read_questions(path)
    with pytest.raises(EvaluationError, match=r"nowhere.jsonl: No such file"):
        read_questions(tmp_path / "nowhere.jsonl")
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [1,\n 2', encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"broken.json, row 2: "):
        read_coco(broken)


@pytest.mark.parametrize("label", ["yes", "Yes", "YES", 1, True, " yes "])
def test_labels_in_every_form(tmp_path: Path, label: Any) -> None:
    path = lines(tmp_path / "asked.jsonl", question(1, label=label), question(2, label="No"))
    assert [item.label for item in read_questions(path).items] == [True, False]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"label": "maybe"}, r"got 'maybe' in asked.jsonl, row 2"),
        ({"label": None}, "asked.jsonl, row 2 without label"),
        ({"question_id": 1}, "id 1 twice: asked.jsonl, row 1 and asked.jsonl, row 2"),
        ({"question_id": True}, "row 2 with True as id"),
        ({"image": "other.png"}, r"asked.jsonl, row 2: no image 'other.png' in "),
        ({"text": ""}, "row 2 with '' as question"),
    ],
)
def test_wrong_questions_are_told_with_their_row(
    coco: CocoFiles, tmp_path: Path, wrong: dict[str, Any], expected: str
) -> None:
    path = lines(tmp_path / "asked.jsonl", question(1), question(2, **wrong))
    with pytest.raises(EvaluationError, match=expected):
        read_questions(path, coco.images)


def test_a_table_in_every_format_is_the_same_data_set(coco: CocoFiles, tmp_path: Path) -> None:
    from datasets import Dataset as HubDataset
    from datasets import Image

    rows = [
        {"id": f"s{n}", "image": f"scene_{n}.png", "objects": sorted(scene.present)}
        for n, scene in enumerate(coco.scenes)
    ]
    as_lines = read_table(lines(tmp_path / "table.jsonl", *rows), coco.images)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet", row_group_size=4)
    as_parquet = read_table(tmp_path / "table.parquet", coco.images)
    embedded = [{**row, "image": str(coco.images / row["image"])} for row in rows]
    hub = HubDataset.from_list(embedded).cast_column("image", Image()).map(lambda one: one)
    hub.save_to_disk(str(tmp_path / "hub"))
    as_folder = read_table(tmp_path / "hub")
    assert as_lines.fingerprint == as_parquet.fingerprint
    assert [item.objects for item in as_folder.items] == [item.objects for item in as_lines.items]
    for one, other in zip(as_folder.items, as_lines.items, strict=True):
        assert np.array_equal(np.asarray(one.open()), np.asarray(other.open()))


def test_parquet_with_encoded_images_in_several_row_groups(coco: CocoFiles, tmp_path: Path) -> None:
    rows = [
        {"id": n, "image": (coco.images / f"scene_{n}.png").read_bytes(), "question": "Any dog?", "label": n % 2}
        for n in range(6)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "asked.parquet", row_group_size=4)
    found = read_questions(tmp_path / "asked.parquet")
    assert [item.label for item in found.items] == [False, True] * 3
    assert found.items[5].place == "asked.parquet, row 6"
    for number in (5, 0, 4):
        assert np.array_equal(np.asarray(found.items[number].open()), np.asarray(coco.scenes[number].image))
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "asked.parquet").read_bytes()[:200])
    with pytest.raises(EvaluationError, match=r"torn.parquet: .*expected: a Parquet file"):
        read_questions(tmp_path / "torn.parquet")
    with pytest.raises(EvaluationError, match=r"gone.parquet: no such file"):
        read_questions(tmp_path / "gone.parquet")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": 1, "image": "scene_0.png"}, "table.jsonl, row 1 with objects=None"),
        ({"id": 1, "image": "scene_0.png", "objects": "dog"}, "objects='dog'"),
        ({"id": 1, "objects": ["dog"]}, "row 1 with no field 'image' or 'file_name'"),
        ({"id": 1, "image": "scene_0.png", "objects": ["unicorn"]}, r"unknown objects \['unicorn'\]"),
    ],
)
def test_wrong_rows_of_a_table(coco: CocoFiles, tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    with pytest.raises(EvaluationError, match=expected):
        read_table(lines(tmp_path / "table.jsonl", row), coco.images)


def test_what_no_file_can_hold_is_told_with_its_row(coco: CocoFiles, tmp_path: Path) -> None:
    questions, name = tmp_path / "q.jsonl", next(coco.images.iterdir()).name
    row = {"question_id": 1, "image": name, "text": "Is there a dog?", "label": "no"}
    for changed, expected in (
        (json.dumps(row | {"question_id": "\ud83d"}), "row 1.*as id; expected: Unicode text"),
        (json.dumps(row).replace(": 1,", ": " + "1" * 5000 + ","), "row 1: Exceeds the limit"),
        ("[" * 200_000, "row 1: nested too deep"),
        (json.dumps(row | {"image": "a" * 304}), "row 1.*name.*too long|row 1.*image"),
    ):
        questions.write_text(changed, encoding="utf-8")
        with pytest.raises(EvaluationError, match=expected):
            read_questions(questions, coco.images)


def test_a_page_that_is_damaged_is_told(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    rows = [{"id": str(n), "question": f"Is there a dog {n}?" * 40, "label": "no", "image": "a"} for n in range(60)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    whole = bytearray(file.read_bytes())
    whole[40:440] = b"\xff" * 400
    file.write_bytes(whole)
    with pytest.raises(EvaluationError, match="a part that cannot be read"):
        read_questions(file)


def test_images_that_do_not_open_are_found_before_a_model_runs(coco: CocoFiles, tmp_path: Path) -> None:
    (tmp_path / "scene_0.png").write_bytes((coco.images / "scene_0.png").read_bytes()[:400])
    found = read_questions(lines(tmp_path / "asked.jsonl", question(1)), tmp_path)
    with pytest.raises(ImageInputError, match=r"asked.jsonl, row 1: .*scene_0.png"):
        found.check_images()
    with pytest.raises(ImageInputError, match=r"asked.jsonl, row 1 without an image"):
        read_questions(tmp_path / "asked.jsonl").check_images()
    read_coco(coco.instances, coco.images).check_images()


def test_mme_in_both_layouts(tmp_path: Path) -> None:
    found = read_mme(write_mme(tmp_path))
    assert found.kinds == {"existence": 4, "landmark": 4}
    assert [item.label for item in found.items] == [True, False] * 4
    assert found.items[0].id == "existence/0/1"
    assert len(set(found.image_groups.tolist())) == 4
    found.check_images()
    assert read_mme(tmp_path, ("landmark",)).kinds == {"landmark": 4}
    with pytest.raises(EvaluationError, match=r"subtasks \['count'\]; expected: existence, landmark"):
        read_mme(tmp_path, ("count",))
    (tmp_path / "existence" / "1.txt").write_text("Is there a dog?\tYes\nIs there a cat?\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"existence/1.txt, row 2: 'Is there a cat\?'"):
        read_mme(tmp_path)
    (tmp_path / "existence" / "1.txt").unlink()
    with pytest.raises(EvaluationError, match="existence/'1' with an image or questions only"):
        read_mme(tmp_path)
    with pytest.raises(EvaluationError, match="which is no folder"):
        read_mme(tmp_path / "gone")


def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    home = write_mme(tmp_path) / "existence"
    for ending in (".txt", ".png"):
        (home / f"0{ending}").rename(home / f"{os.fsdecode(bytes([255]))}{ending}")
    with pytest.raises(EvaluationError, match=r"the file name b'\\xff.txt' in .*; expected: a name in UTF-8"):
        read_mme(tmp_path)


def test_amber_has_descriptions_and_questions(tmp_path: Path) -> None:
    written = {
        "annotations.json": [
            {"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["cat"]},
            {"id": 2, "type": "discriminative-hallucination", "truth": "no"},
        ],
        "query_all.json": [
            {"id": 1, "image": "a.png", "query": "Describe this image."},
            {"id": 2, "image": "a.png", "query": "Is there a cat?"},
        ],
        "relation.json": {"dog": ["puppy"], "cat": []},
    }
    for name, told in written.items():
        (tmp_path / name).write_text(json.dumps(told), encoding="utf-8")
    (tmp_path / "safe_words.txt").write_text("light\n", encoding="utf-8")
    found = read_amber(tmp_path)
    first, second = found.items
    assert (first.objects, first.expected, first.label) == (("dog",), ("cat",), None)
    assert (second.objects, second.label, second.kind) == (None, False, "discriminative-hallucination")
    assert found.safe_words == ("light",)
    with pytest.raises(EvaluationError, match=r"query_all.json, query 1: no image 'a.png' in "):
        read_amber(tmp_path, tmp_path)


def test_made_questions_are_true_balanced_and_repeatable(coco: CocoFiles) -> None:
    found = read_coco(coco.instances, coco.images)
    there = {item.id: set(item.objects or ()) for item in found.items}
    for negatives in ("random", "popular", "adversarial"):
        made = make_questions(found, negatives, per_image=2, seed=1)  # type: ignore[arg-type]
        assert made.fingerprint == make_questions(found, negatives, per_image=2, seed=1).fingerprint  # type: ignore[arg-type]
        assert sum(bool(item.label) for item in made.items) * 2 == len(made)
        for item in made.items:
            name = item.question.removeprefix("Is there a").removeprefix("n").strip().removesuffix(" in the image?")
            assert (name in there[item.id.partition("/")[0]]) == item.label
    assert make_questions(found, "random", seed=1, per_image=2).fingerprint != (
        make_questions(found, "random", seed=2, per_image=2).fingerprint
    )
    assert len(make_questions(found, "random", per_image=1, images=2).items) == 4


def test_popular_and_adversarial_ask_for_what_they_should() -> None:
    words = Vocabulary({name: [name] for name in ("dog", "cat", "car", "bus", "cow")})
    together = [("dog", "cat")] * 2 + [("car", "bus")] * 5 + [("dog", "cow")]
    items = [Item(id=str(n), image=None, image_id=str(n), objects=pair) for n, pair in enumerate(together)]
    held = Dataset(name="planted", metric="chair", items=tuple(items), vocabulary=words)
    absent = {
        kind: [i.question for i in make_questions(held, kind, per_image=1).items if not i.label]  # type: ignore[arg-type]
        for kind in ("popular", "adversarial")
    }
    assert absent["popular"][0] in ("Is there a car in the image?", "Is there a bus in the image?")
    assert absent["adversarial"][0] == "Is there a cow in the image?"
    assert absent["adversarial"][-1] == "Is there a cat in the image?"
    with pytest.raises(EvaluationError, match="no image with 3 objects"):
        make_questions(held, "random")
    with pytest.raises(ModelInputError, match="negatives='hard'"):
        make_questions(held, "hard")  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="images with objects"):
        make_questions(bundled_dataset("tiny-pope", n=2), "random")


def test_the_bundled_world_is_a_data_set() -> None:
    described, asked = bundled_dataset("tiny-chair", n=3), bundled_dataset("tiny-pope", n=3)
    assert described.kinds == {"neutral": 3, "prior": 3, "hard": 3}
    assert sum(bool(item.label) for item in asked.items) * 2 == len(asked)
    assert len(set(asked.image_groups.tolist())) <= 9
    with pytest.raises(ModelInputError, match="name='tiny-mme'"):
        bundled_dataset("tiny-mme")


def test_a_sample_keeps_order_and_whole_images() -> None:
    asked = bundled_dataset("tiny-pope", n=5)
    drawn = asked.sample(4, seed=2)
    ids = [item.id for item in asked.items]
    kept = [item.id for item in drawn.items]
    images = {item.image_id for item in drawn.items}
    assert len(images) == 4
    assert kept == [item.id for item in asked.items if item.image_id in images]
    assert kept == sorted(kept, key=ids.index)
    assert drawn.fingerprint == asked.sample(4, seed=2).fingerprint != asked.sample(4, seed=3).fingerprint
    assert asked.sample(10**6) is asked
    with pytest.raises(EvaluationError, match="0 images"):
        asked.sample(0)


def test_answers_are_matched_by_id(tmp_path: Path) -> None:
    asked = bundled_dataset("tiny-chair", n=1)
    told = [{"image_id": item.id, "caption": f"A {item.kind}."} for item in reversed(asked.items)]
    as_list = tmp_path / "answers.json"
    as_list.write_text(json.dumps(told), encoding="utf-8")
    wanted = [f"A {item.kind}." for item in asked.items]
    assert read_answers(as_list, asked) == wanted
    as_lines = lines(tmp_path / "answers.jsonl", *told)
    assert read_answers(as_lines, asked) == wanted
    for wrong, expected in (
        ([*told, {"id": "x", "caption": ""}], "answers.jsonl, row 4 with the unknown id x"),
        ([*told, told[0]], "twice: answers.jsonl, row 1 and answers.jsonl, row 4"),
        (told[1:], "1 of 3 items without an answer, hard-0 the first"),
        ([{"id": "hard-0"}, *told[1:]], "row 1 without a text as caption"),
    ):
        with pytest.raises(EvaluationError, match=expected):
            read_answers(lines(as_lines, *wrong), asked)
    as_list.write_text("[1]", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"answers.json, record 1, a int"):
        read_answers(as_list, asked)
